"""Neighbor search against pymatgen, vesin and matscipy, on one thread.

Each line gives the processor time of one search of the same pairs and its ratio to the peer:
medians over repeats in which all take turns. Processor time of the calling thread, so that other
load on the machine counts little. Peers that are not installed are named and left out.

At the end the memory of a search in the largest crystal, in a process of its own, and the seconds
that Numba needs to compile the search for one small crystal with nothing cached.

    python benchmarks/bench_neighborlist.py [--repeats 15] [--single 8 64 512 4096 32768 100000]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from claims import compared, record
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
# Goals, and what of all sizes goes into the table.
BATCH_GOALS = {"pymatgen": "≤ 0.7", "vesin": "≤ 0.3"}
SINGLE_GOALS = {"pymatgen": "≤ 1", "vesin": "≤ 1", "matscipy": "≤ 1"}
CLAIMED = (8, 512, 32768, 100000)


def compare(
    title: str,
    atoms: list[Atoms],
    cutoffs: np.ndarray,
    repeats: int,
    goals: dict[str, str],
    json: Path | None,
) -> None:
    runs = {"ours": ours(atoms, cutoffs)}
    for peer in PEERS:
        try:
            runs[peer.__name__] = peer(atoms, cutoffs)
        except ImportError:
            print(f"{peer.__name__} is not installed: left out")
    pairs = {name: run() for name, run in runs.items()}  # compiles, and warms the caches
    times: dict[str, list[float]] = {name: [] for name in runs}
    calls = max(1, 2000 // (sum(len(a) for a in atoms) * 10))  # more than the clock's ticks
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.thread_time()
            for _ in range(calls):
                run()
            times[name].append((time.thread_time() - begin) / calls)
    n_atoms = sum(len(a) for a in atoms)
    print(f"{title}: {n_atoms} atoms, {pairs['ours']} pairs")
    for name in runs:
        ratio = np.median(np.array(times["ours"]) / np.array(times[name]))
        note = "" if pairs[name] == pairs["ours"] else f"   (other pairs: {pairs[name]})"
        shown = "" if name == "ours" else f"   ours / {name} = {ratio:.2f}"
        seconds = np.median(times[name])
        each = f"{1e6 * seconds / n_atoms:7.2f} µs per atom"
        print(f"  {name:9s} {1e3 * seconds:9.3f} ms {each}{shown}{note}")
        if json is not None and name != "ours":
            claim = compared(
                f"neighbors: {title}" + (f", {n_atoms:,} atoms" if len(atoms) == 1 else ""),
                times["ours"],
                times[name],
                peer=name,
                threads=1,
                unit="ms",
                goal=goals.get(name, ""),
            )
            record(claim, json)


def resident(name: str) -> float:
    """Return the memory of this process, now or at most, in MiB."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if name in x]
    return int(line.split()[1]) / 1024


def print_memory(n_atoms: int) -> None:
    """Print how far a search raises the memory of this process, and what its result holds."""
    atoms = rattled_rock_salt(n_atoms)
    run = ours([atoms], np.array([6.0]))
    ours([rattled_rock_salt(1000)], np.array([6.0]))()  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest size so far; Linux only
    before = resident("VmRSS")
    n_pairs = run()
    grown = resident("VmHWM") - before
    print(
        f"memory, {len(atoms)} atoms, {n_pairs} pairs: {grown:.0f} MiB at most, of which the pairs "
        f"(28 bytes each) take {28 * n_pairs / 2**20:.0f} MiB"
    )


def print_compilation() -> None:
    """Print the seconds of processor time that the first search takes."""
    import numba

    numba.njit(lambda x: x + 1)(1)  # what Numba needs to begin with is not counted
    run = ours([rattled_rock_salt(8)], np.array([6.0]))
    begin = time.process_time()
    run()
    print(f"first search, nothing cached: {time.process_time() - begin:.2f} s of processor time")


def print_elsewhere(option: str, **environment: str) -> None:
    """Let a fresh process print one of the above."""
    command = [sys.executable, __file__, *option.split()]
    done = subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    print(done.stdout, end="")


def compare_all(most_repeats: int, sizes: list[int], json: Path | None) -> None:
    batch = io.to_atoms(random_crystals(200))
    lengths = np.array([(a.get_volume() / len(a)) ** (1 / 3) for a in batch])
    for kappa in (1.7, 3.0):
        title = f"200 crystals, R = {kappa:.2g} ℓ"
        compare(title, batch, kappa * lengths, most_repeats, BATCH_GOALS, json)
    for n_atoms in sizes:
        repeats = max(3, most_repeats // (1 + n_atoms // 8192))
        compare(
            "rattled rock salt, 6 Å",
            [rattled_rock_salt(n_atoms)],
            np.array([6.0]),
            repeats,
            SINGLE_GOALS,
            json if n_atoms in CLAIMED else None,
        )
    if sizes:
        print_elsewhere(f"--memory {max(sizes)}")
    with tempfile.TemporaryDirectory() as empty:
        print_elsewhere("--compilation", NUMBA_CACHE_DIR=empty)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    sizes = [8, 64, 512, 4096, 32768, 100000]
    parser.add_argument("--single", type=int, nargs="*", default=sizes)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--compilation", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(options.memory)
    elif options.compilation:
        print_compilation()
    else:
        compare_all(options.repeats, options.single, options.json)


if __name__ == "__main__":
    main()
