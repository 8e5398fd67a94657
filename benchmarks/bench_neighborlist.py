"""Neighbor search against pymatgen, vesin and matscipy, on one thread.

Each line gives the processor time of one search of the same pairs and its ratio to the peer:
medians over repeats in which all take turns. Processor time of the calling thread, so that other
load on the machine counts little. Peers that are not installed are named and left out.

    python benchmarks/bench_neighborlist.py [--repeats 15] [--large 512 4096 32768]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import bulk
from some_crystals import random_crystals

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import search

Search = Callable[[], int]


def rattled_rock_salt(n_atoms: int, seed: int = 0) -> Atoms:
    """Rock salt of about `n_atoms`, displaced by 0.1 Å."""
    repeats = round((n_atoms / 8) ** (1 / 3))
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (repeats, repeats, repeats)
    atoms.positions += 0.1 * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return atoms


def ours(atoms: list[Atoms], cutoffs: np.ndarray) -> Search:
    crystals = Crystals.concatenate(
        [Crystals.single(a.positions, a.cell.array, a.numbers) for a in atoms]
    )
    return lambda: search(crystals, cutoffs).n_pairs


def pymatgen(atoms: list[Atoms], cutoffs: np.ndarray) -> Search:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    periodic = np.ones(3, dtype=np.int64)
    ready = [
        (np.ascontiguousarray(a.positions), np.ascontiguousarray(a.cell.array), r)
        for a, r in zip(atoms, cutoffs, strict=True)
    ]

    def run() -> int:
        # Its list holds each atom itself, at distance zero; a caller has to take that out, which
        # is not counted here.
        found = [find_points_in_spheres(x, x, r, periodic, cell) for x, cell, r in ready]
        return sum(len(i) for i, _, _, _ in found) - sum(len(a) for a in atoms)

    return run


def vesin(atoms: list[Atoms], cutoffs: np.ndarray) -> Search:
    from vesin import NeighborList

    ready = [
        (NeighborList(cutoff=float(r), full_list=True), a.positions, a.cell.array)
        for a, r in zip(atoms, cutoffs, strict=True)
    ]
    return lambda: sum(
        len(finder.compute(positions, cell, True, quantities="ijS")[0])
        for finder, positions, cell in ready
    )


def matscipy(atoms: list[Atoms], cutoffs: np.ndarray) -> Search:
    from matscipy.neighbours import neighbour_list

    ready = [(a, float(r)) for a, r in zip(atoms, cutoffs, strict=True)]
    return lambda: sum(len(neighbour_list("ijS", a, r)[0]) for a, r in ready)


PEERS = (pymatgen, vesin, matscipy)


def compare(title: str, atoms: list[Atoms], cutoffs: np.ndarray, repeats: int) -> None:
    runs = {"ours": ours(atoms, cutoffs)}
    for peer in PEERS:
        try:
            runs[peer.__name__] = peer(atoms, cutoffs)
        except ImportError:
            print(f"{peer.__name__} is not installed: left out")
    pairs = {name: run() for name, run in runs.items()}  # compiles, and warms the caches
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.thread_time()
            run()
            times[name].append(time.thread_time() - begin)
    print(f"{title}: {sum(len(a) for a in atoms)} atoms, {pairs['ours']} pairs")
    for name in runs:
        ratio = np.median(np.array(times["ours"]) / np.array(times[name]))
        note = "" if pairs[name] == pairs["ours"] else f"   (other pairs: {pairs[name]})"
        shown = "" if name == "ours" else f"   ours / {name} = {ratio:.2f}"
        print(f"  {name:9s} {1e3 * np.median(times[name]):9.2f} ms{shown}{note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--large", type=int, nargs="*", default=[512, 4096, 32768])
    options = parser.parse_args()
    batch = io.to_atoms(random_crystals(200))
    lengths = np.array([(a.get_volume() / len(a)) ** (1 / 3) for a in batch])
    for kappa in (1.7, 3.0):
        compare(f"200 crystals, {kappa} l", batch, kappa * lengths, options.repeats)
    for n_atoms in options.large:
        repeats = max(3, options.repeats // (1 + n_atoms // 8192))
        compare("rattled rock salt, 6 Å", [rattled_rock_salt(n_atoms)], np.array([6.0]), repeats)


if __name__ == "__main__":
    main()
