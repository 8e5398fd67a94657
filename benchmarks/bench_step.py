"""One step of the batched anneal that `sample` uses, with our energy and by differentiating it.

128 crystals like those of MP-20, random atoms; the same network by hand-written passes and by
autograd over pairs in plain torch. One thread: processor time; more: time on the wall.

    python benchmarks/bench_step.py [--repeats 5] [--crystals 128] [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from claims import compared, record, take_turns
from some_crystals import random_crystals

from ase_continuousp import load_model
from ase_continuousp.model.derivatives import AutogradEnergy
from ase_continuousp.model.pairs import TorchPairs
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling import AnnealPlan, BatchAnneal, Geometric, WarmUp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crystals", type=int, default=128)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model)
    network = copy.deepcopy(model.network)
    network.pairs = TorchPairs()
    energies = {"ours": model.energy(device="cpu"), "autograd": AutogradEnergy(network)}
    start = reduce_crystals(random_crystals(options.crystals))
    plan = AnnealPlan(1000, Geometric(1.0, 1e-3), Geometric(0.5, 5e-4), WarmUp(), (1.0, 1000.0))
    batch = BatchAnneal(plan, describe=reduce_crystals)
    runs = {}
    for name, energy in energies.items():
        steps = batch.steps(batch.start(energy, start, np.random.default_rng(0)), energy)
        runs[name] = lambda steps=steps: next(steps)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    seconds = take_turns(runs, options.repeats, clock)
    claim = compared(
        f"a sampler step of {options.crystals} crystals, {start.n_atoms} atoms",
        seconds["ours"],
        seconds["autograd"],
        peer="the same by autograd in torch",
        peer_version=str(torch.__version__),
        threads=options.threads,
        unit="ms",
        goal="≤ 0.17",
    )
    record(claim, options.json)


if __name__ == "__main__":
    main()
