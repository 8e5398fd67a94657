"""The fused energy against plain torch, on one thread: evaluation and training step.

Each line gives the processor time of one call and the ratio of fused to plain: medians over
repeats in which both take turns. Processor time of the calling thread, so that other load on the
machine counts little. Random weights; the speed does not depend on them.

    python benchmarks/bench_energy.py [--repeats 15] [--channels 96] [--vector-channels 48]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from some_crystals import random_crystals

from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.pairs import TorchPairs
from ase_continuousp.training.objectives.score import ScoreMatching


def compare(title: str, runs: dict[str, Callable[[], object]], repeats: int) -> None:
    for run in runs.values():  # compiles, and warms the caches
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.thread_time()
            run()
            times[name].append(time.thread_time() - begin)
    ratio = np.median(np.array(times["fused"]) / np.array(times["plain"]))
    shown = ", ".join(f"{name} {1e3 * np.median(t):.1f} ms" for name, t in times.items())
    print(f"{title}: {shown}, fused / plain = {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--vector-channels", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"channels": options.channels, "vector_channels": options.vector_channels}
    networks = {"fused": ContinuousEnergy(**sizes)}
    networks["plain"] = copy.deepcopy(networks["fused"])
    networks["plain"].pairs = TorchPairs()
    energies = {name: ModelEnergy(copy.deepcopy(n)) for name, n in networks.items()}
    for n_crystals in (1, 16, 128):
        batch = random_crystals(n_crystals)
        runs = {name: lambda e=e, b=batch: e(b) for name, e in energies.items()}
        title = f"energy, forces, stress of {n_crystals} crystals, {batch.n_atoms} atoms"
        compare(title, runs, options.repeats)
    objective = ScoreMatching()
    noised = objective.draw(random_crystals(32), np.random.default_rng(0))
    steps = {
        name: lambda n=n: objective.accumulate(n, noised, torch.float32)
        for name, n in networks.items()
    }
    title = f"training step of 32 crystals, {noised.crystals.n_atoms} atoms"
    compare(title, steps, options.repeats)


if __name__ == "__main__":
    main()
