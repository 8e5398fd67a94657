"""Rows per second into an ase.db: batches of searches, a transaction for each search, for each row.

python benchmarks/write_rate.py --searches 500
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import ase.db
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_continuousp import Candidate
from ase_continuousp.search import database
from ase_continuousp.search.database import SearchDatabase

PAIRS = {"reduced": "SrTiO3", "model": "mp20", "model_hash": "sha256-0f", "seed": 0}
PROVENANCE = {"package": "ase_continuousp", "seconds": 1.0, "settings": {"start": "prototype"}}


def candidate() -> Candidate:
    """Return a crystal of eight atoms with all that a search finds out."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-8.0, forces=np.zeros((len(atoms), 3)), stress=np.zeros(6)
    )
    trace = np.linspace(-0.5, -1.0, 60)
    return Candidate(
        atoms, -1.0, ("Fm-3m", 225), 4, 2, True, False, "random", "", None, 0.5,
        raw=atoms, trace=trace,
    )  # fmt: skip


def by_searches(path: Path, n: int, rows: list[Candidate], batch: int) -> None:
    database._BATCH = batch
    with SearchDatabase(path) as results:
        for number in range(n):
            results.add(f"s{number}", PAIRS, rows, PROVENANCE)


def by_rows(path: Path, n: int, rows: list[Candidate]) -> None:
    """Write as a plain loop over ase.db does."""
    plain = ase.db.connect(path, use_lock_file=False)
    for number in range(n):
        for rank, one in enumerate(rows, start=1):
            pairs = {**PAIRS, "search": f"s{number}", "rank": rank, "n_found": 2}
            plain.write(one.atoms, key_value_pairs=pairs, data={"trace": one.trace})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--rows", type=int, default=4, help="of a search")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = [candidate()] * options.rows
    ways: dict[str, Callable[[Path, int], None]] = {
        "100 searches a transaction": lambda path, n: by_searches(path, n, rows, 100),
        "one search a transaction": lambda path, n: by_searches(path, n, rows, 1),
        "one row a transaction": lambda path, n: by_rows(path, n, rows),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats + 1):
            for number, (name, write) in enumerate(ways.items()):
                n = options.searches if repeat else 5  # the first warms up
                began = time.perf_counter(), time.process_time()
                write(Path(folder, f"{repeat}-{number}.db"), n)
                if repeat:
                    seconds[name].append(
                        (time.perf_counter() - began[0], time.process_time() - began[1])
                    )
    n_rows = options.searches * options.rows
    print("rows/s  rows/s of processor time  what")
    for name, both in seconds.items():
        wall, processor = (median(times) for times in zip(*both, strict=True))
        print(f"{n_rows / wall:6.0f}  {n_rows / processor:6.0f}  {name}", flush=True)


if __name__ == "__main__":
    main()
