"""Anneal a batch of crystals with a shipped model: speed, acceptance, and what the sampler costs.

Compositions and atom counts come from a CSV with a ``cif`` column (``--data``), else from a few
made-up ones; the starts are random crystals with these atoms. The chain is that of `BatchAnneal`
in strain coordinates, with the schedule of the paper and step sizes adapted, every proposal
Niggli-reduced. Printed are wall time, steps per second and crystal, acceptance on each tenth of
the schedule, and the share of the time spent outside the energy model (processor time of this
thread on the CPU, so that other load counts little; wall time on a GPU).

    python benchmarks/bench_anneal.py [--data mp_20.csv.gz] [--crystals 128] [--steps 20]
        [--model mp20] [--device cpu] [--threads 1]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ase_continuousp import load_model
from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation
from ase_continuousp.io import from_cif_text
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling import AnnealPlan, BatchAnneal, Geometric, WarmUp


class Timed:
    """An energy that counts the time spent in it."""

    def __init__(self, energy: EnergyFunction, clock: Callable[[], float]) -> None:
        self.energy, self.clock, self.spent = energy, clock, 0.0

    def __call__(self, crystals: Crystals) -> Evaluation:
        begin = self.clock()
        found = self.energy(crystals)
        self.spent += self.clock() - begin
        return found


def compositions_of(path: Path, n: int, seed: int) -> list[np.ndarray]:
    """Return the atomic numbers of rows of a CSV, in the order of a shuffle by the seed."""
    csv.field_size_limit(2**31 - 1)
    reader = gzip.open if path.suffix == ".gz" else open
    with reader(path, "rt", newline="", encoding="utf-8") as handle:
        texts = [row["cif"] for row in csv.DictReader(handle)]
    chosen = np.random.default_rng(seed).permutation(len(texts))[:n]
    return [from_cif_text(texts[i]).numbers for i in chosen]


def random_crystal(numbers: np.ndarray, rng: np.random.Generator) -> Crystals:
    """Return a moderately skewed cell at 20 Å³ per atom with atoms anywhere."""
    while True:
        cell = np.eye(3) + 0.25 * rng.normal(size=(3, 3))
        volume = np.linalg.det(cell)
        if volume > 0.3:
            break
    cell *= np.cbrt(20.0 * len(numbers) / volume)
    return Crystals.single(rng.random((len(numbers), 3)) @ cell, cell, numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--crystals", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    model = load_model(options.model)
    if options.data is None:
        known = np.array(sorted(model.elements))
        compositions = [
            rng.choice(known, int(rng.integers(1, 21))) for _ in range(options.crystals)
        ]
    else:
        compositions = compositions_of(options.data, options.crystals, options.seed)
    start = reduce_crystals(Crystals.concatenate([random_crystal(z, rng) for z in compositions]))

    on_cpu = options.device == "cpu"
    clock = time.thread_time if on_cpu and options.threads == 1 else time.perf_counter
    energy = Timed(model.energy(device=options.device), clock)
    plan = AnnealPlan(
        options.steps, Geometric(1.0, 1e-3), Geometric(0.5, 5e-4), WarmUp(), (1.0, 1000.0)
    )
    batch = BatchAnneal(plan, describe=reduce_crystals)
    first = batch.start(energy, start, rng)
    next(iter(batch.steps(first, energy)))  # compiles, and warms the caches
    energy.spent = 0.0

    accepted = []
    begin, wall = clock(), time.perf_counter()
    for step in batch.steps(first, energy):
        run, record = step
        accepted.append(record.is_accepted.mean())
    total, wall = clock() - begin, time.perf_counter() - wall
    n = run.state.crystals.n_crystals
    spent = f"{wall:.1f} s"
    if clock is time.thread_time:
        spent += f" ({total:.1f} s of the processor)"
    print(
        f"{n} crystals, {start.n_atoms} atoms, {run.state.step} steps: {spent}, "
        f"{run.state.step / wall:.2f} steps a second for all, "
        f"{n * run.state.step / wall:.0f} of single crystals"
    )
    levels = [part.mean() for part in np.array_split(np.array(accepted), 10) if len(part)]
    print("acceptance by tenths:", ", ".join(f"{a:.2f}" for a in levels))
    print(f"share of the time outside the energy model: {1.0 - energy.spent / total:.1%}")
    n_ended = int(np.sum(~run.watch.is_running))
    reasons = sorted({reason.split(":")[0] for reason in run.watch.reasons if reason is not None})
    per_atom = run.best_energy / start.counts
    print(
        f"median best energy {np.median(per_atom):.3f} per atom; {n_ended} chains ended early"
        + (f" ({', '.join(reasons)})" if reasons else "")
    )


if __name__ == "__main__":
    main()
