"""The tables of docs/training.md: train on Perov-5, then sample 200 test crystals.

    python benchmarks/training_tables.py precisions --data perov_5 --out runs

Each run is a folder of its own; what is there is not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import resource
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ase_continuousp import TrainConfig, evaluate, train
from ase_continuousp.training.networks import build_network
from ase_continuousp.training.objectives.choice import make_objective
from ase_continuousp.training.run_state import has_state, read_state
from ase_continuousp.training.trainer import held_out_set

SHORT = {"steps": 600, "warmup": 60, "ema": 0.98, "validate_every": 200}
PRECISIONS = ("fp32", "fp16-mixed", "bf16-mixed", "bf16-sr", "bf16")
CHAINS: dict[str, Any] = {"decay": "constant", "checkpoint_every": 50, "validate_every": 100}
CD = {"batch_size": 32, "objective_options": {"chain_steps": 20}, "checkpoint_every": 2}
PCD = {"steps": 20_000, "objective": "pcd", "learning_rate": 1e-3, **CHAINS}


def preset(name: str, **changes: Any) -> TrainConfig:
    return TrainConfig.preset(name, **changes)


# Settings, minutes of the processor after which a run is ended, steps of a sample's chain.
RUNS: dict[str, dict[str, tuple[TrainConfig, float | None, int | None]]] = {
    "objectives": {
        "score": (preset("perov5", steps=6000), None, None),
        "dsm": (preset("perov5", steps=6000, objective="dsm"), None, None),
        "pcd": (preset("perov5", **PCD), 2.0, 300),
        "cd": (preset("paper", steps=2000, validate_every=20, **CD), 1.7, 20),
    },
    "precisions": {
        f"prec-{p}": (preset("perov5", **SHORT, precision=p), None, None) for p in PRECISIONS
    },
    "decays": {
        f"decay-{d}": (preset("perov5", **SHORT, decay=d), None, None)
        for d in ("cosine", "linear", "constant")
    },
    "batches": {
        f"batch-{n}": (preset("perov5", **SHORT).with_batch_size(n), None, None) for n in (32, 512)
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=sorted(RUNS))
    parser.add_argument("--data", type=Path, required=True, help="folder with train, val, test_dev")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200, help="test crystals; 0 samples none")
    options = parser.parse_args()
    for name, (config, minutes, n_steps) in RUNS[options.table].items():
        folder = options.out / name
        if not (folder / "row.json").is_file():
            run(config, minutes, n_steps, options, folder)
        print(json.dumps(json.loads((folder / "row.json").read_text())))


def run(
    config: TrainConfig,
    minutes: float | None,
    n_steps: int | None,
    options: argparse.Namespace,
    folder: Path,
) -> None:
    files = {name: options.data / f"{name}.csv.gz" for name in ("train", "val", "test_dev")}
    row: dict[str, Any] = {"run": folder.name}
    begun = has_state(folder)
    # Whatever a run with a budget has left is its result; others go on where they were interrupted.
    if not begun or (minutes is None and read_state(folder)[0]["step"] < config.steps):
        arguments = (config, minutes, files["train"], files["val"], folder, begun)
        process = get_context("spawn").Process(target=train_for, args=arguments)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process.start()
        process.join()
        if process.exitcode and minutes is None:
            raise SystemExit(f"training ended with status {process.exitcode}: {folder}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if not begun:  # else it is the cost of a part
            row |= {"minutes": spent / 60, "peak_mb": after.ru_maxrss / 1024}
    row |= summary(folder, config, files["val"])
    if options.limit:
        found = evaluate(
            folder, files["test_dev"], limit=options.limit, processes=1, controls=False,
            n_steps=n_steps,
        )  # fmt: skip
        error = math.sqrt(found.match_rate * (1 - found.match_rate) / found.n)
        row |= {"match": found.match_rate, "error": error}
        row |= {"strict": found.strict_rate, "rmse": found.rmse, "n": found.n}
    (folder / "row.json").write_text(json.dumps(row))


def train_for(
    config: TrainConfig, minutes: float | None, data: Path, val: Path, folder: Path, resume: bool
) -> None:
    """Train until the end or until the time is up; the last checkpoint is what counts then."""
    if minutes is not None:
        seconds = int(60 * minutes)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    train(config, data, folder, val=val, resume=resume, progress=True)


def summary(folder: Path, config: TrainConfig, val: Path) -> dict[str, Any]:
    """Return losses of averaged and last weights, skipped updates and bytes a weight."""
    from ase_continuousp.training.data import read_crystals

    record, tensors = read_state(folder)
    objective = make_objective(config.objective, config.law, config.objective_options)
    held_out = held_out_set(read_crystals(val), config, objective)
    losses = {}
    for kind in ("average", "network"):
        network = build_network(config).eval()
        weights = {k: v for k, v in tensors.items() if k.startswith((f"{kind}.", "buffer."))}
        network.load_state_dict({k.split(".", 1)[1]: v for k, v in weights.items()})
        losses[kind] = objective.loss(network, held_out, torch.float32)
    with (folder / "log.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    kept = {k: v for k, v in tensors.items() if k.split(".")[0] in {"network", "optimizer"}}
    moments = sum(v.nbytes for k, v in kept.items() if k.startswith("optimizer"))
    n = sum(v.numel() for k, v in kept.items() if k.startswith("network"))
    return {
        "updates": record["step"],
        "validation": losses["average"],
        "validation_last": losses["network"],
        "skipped": last.get("skipped"),
        "bytes_of_moments": moments,
        "bytes_of_state": sum(v.nbytes for k, v in tensors.items() if not k.startswith("prec")),
        "weights": n,
    }


if __name__ == "__main__":
    main()
