"""The energy by hand-written derivatives against plain torch, on one thread, and a training step.

Each line gives the processor time of one call and ratios: medians over repeats in which all take
turns. Processor time of the calling thread, so that other load on the machine counts little.
"plain" is the network in plain torch, differentiated; "layers" has its fused layers, which
training uses, differentiated; "ours" is what calculators and samplers call.

    python benchmarks/bench_energy.py [--repeats 15] [--model mp20] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from claims import compared, record
from some_crystals import random_crystals

from ase_continuousp import load_model
from ase_continuousp.model.derivatives import AutogradEnergy, ModelEnergy
from ase_continuousp.model.pairs import TorchPairs
from ase_continuousp.training.objectives.score import ScoreMatching

PEERS = {"layers": "autograd over fused layers", "plain": "autograd in torch"}


def compare(
    title: str, runs: dict[str, Callable[[], object]], repeats: int, json: Path | None
) -> None:
    """Print times and the ratio of the first to each of the others."""
    for run in runs.values():  # compiles, and warms the caches
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.thread_time()
            run()
            times[name].append(time.thread_time() - begin)
    first, *others = runs
    shown = ", ".join(f"{name} {1e3 * np.median(t):.2f} ms" for name, t in times.items())
    ratios = ", ".join(
        f"{first} / {name} = {np.median(np.array(times[first]) / np.array(times[name])):.3f}"
        for name in others
    )
    print(f"{title}: {shown}; {ratios}")
    for name in others if json is not None else ():
        claim = compared(
            title, times[first], times[name],
            peer=PEERS[name], peer_version=str(torch.__version__), threads=1, unit="ms",
        )  # fmt: skip
        record(claim, json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = load_model(options.model).network
    plain = copy.deepcopy(network)
    plain.pairs = TorchPairs()
    energies = {
        "ours": ModelEnergy(copy.deepcopy(network)),
        "layers": AutogradEnergy(copy.deepcopy(network)),
        "plain": AutogradEnergy(copy.deepcopy(plain)),
    }
    for n_crystals in (1, 16, 128):
        batch = random_crystals(n_crystals)
        runs = {name: lambda e=e, b=batch: e(b) for name, e in energies.items()}
        title = f"energy, forces, stress of {n_crystals} crystals, {batch.n_atoms} atoms"
        compare(title, runs, options.repeats, options.json)
    objective = ScoreMatching()
    noised = objective.draw(random_crystals(32), np.random.default_rng(0))
    steps = {
        name: lambda n=n: objective.accumulate(n, noised, torch.float32)
        for name, n in (("layers", network), ("plain", plain))
    }
    title = f"training step of 32 crystals, {noised.crystals.n_atoms} atoms"
    compare(title, steps, options.repeats, options.json)


if __name__ == "__main__":
    main()
