"""Energy, forces and stress of one crystal through ASE, against CHGNet through its own calculator.

The two models are of different kinds: CHGNet is a potential fitted to DFT energies, ours a density
of crystals. Both are asked for what a relaxation asks: all of energy, forces and stress, in
float32, with the positions changed in every call, so that neighbor lists are new each time. CHGNet
also returns magnetic moments. One thread: processor time; more: time on the wall, and left out on
a busy machine, where threads wait for each other.

    python benchmarks/bench_calculator.py [--repeats 15] [--threads 1 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claims import compared, record, single_threaded, take_turns


def moving(atoms: Any, seed: int) -> Callable[[], object]:
    """Return a call that moves all atoms a little and asks for everything."""
    import numpy as np

    rng = np.random.default_rng(seed)
    origin = atoms.positions.copy()

    def run() -> object:
        atoms.positions = origin + 0.02 * rng.normal(size=origin.shape)
        return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()

    return run


def chgnet() -> Any:
    warnings.simplefilter("ignore")
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def measure(threads: int, repeats: int, json: Path | None) -> None:
    import torch
    from ase.build import bulk

    from ase_continuousp import ContinuouSPCalculator

    torch.set_num_threads(threads)
    try:
        theirs = chgnet()
    except ImportError as error:
        print(f"chgnet is not installed: left out ({error})")
        return
    ours = ContinuouSPCalculator("mp20", device="cpu")
    ours.settle()
    clock = time.process_time if threads == 1 else time.perf_counter
    for cells in (1, 2):
        runs = {}
        for name, calculator in (("ours", ours), ("chgnet", theirs)):
            atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (cells, cells, cells)
            atoms.calc = calculator
            runs[name] = moving(atoms, seed=0)
        seconds = take_turns(runs, repeats, clock)
        claim = compared(
            f"energy, forces, stress of {len(atoms)} atoms through ASE",
            seconds["ours"],
            seconds["chgnet"],
            peer="chgnet",
            threads=threads,
            unit="ms",
            goal="≤ 0.05",
        )
        record(claim, json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.repeats, options.json)
        return
    for threads in options.threads:  # libraries read it when they are loaded
        if threads > 1 and os.getloadavg()[0] > (os.cpu_count() or 1):
            print(f"{threads} threads: the machine is busy, left out")
            continue
        command = [sys.executable, __file__, "--one", str(threads)]
        command += ["--repeats", str(options.repeats)]
        command += ["--json", str(options.json)] if options.json else []
        subprocess.run(command, env=single_threaded(threads), check=True)


if __name__ == "__main__":
    main()
