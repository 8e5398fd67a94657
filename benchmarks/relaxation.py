"""Disturbed crystals relaxed with their cell: do they converge, and to where they came from.

The first crystals of a CSV file after a shuffle by the seed. Every coordinate is moved by normal
noise (0.1 Å by default, as Atoms.rattle does), the cell by a symmetric strain with normal entries
(3 %); FrechetCellFilter with LBFGS or FIRE. "Back" is pymatgen's
StructureMatcher(stol=0.5, angle_tol=10, ltol=0.3) against the crystal of the file, with the RMS
distance over (V/N)^(1/3); "as start" is how many disturbed crystals match before any step. With a
journal (JSON lines, settings first) the same command goes on where it was ended.

    python benchmarks/relaxation.py mp_20/test_dev.csv.gz [--limit 200] [--optimizer lbfgs]
        [--chgnet] [--journal relaxation.jsonl]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS

from ase_continuousp import ContinuouSPCalculator, io, load_model
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.training.data import read_crystals


def disturbed(atoms: Atoms, rattle: float, strain: float, rng: np.random.Generator) -> Atoms:
    raw = rng.normal(scale=strain, size=(3, 3))
    made = atoms.copy()
    made.set_cell(atoms.cell.array @ (np.eye(3) + (raw + raw.T) / 2), scale_atoms=True)
    made.positions += rng.normal(scale=rattle, size=(len(atoms), 3))
    return made


def relax(start: Atoms, truth: Atoms, calc: Any, options: argparse.Namespace) -> dict[str, Any]:
    atoms = start.copy()
    atoms.calc = calc
    kind = {"lbfgs": LBFGS, "fire": FIRE}[options.optimizer]
    energies: list[float] = []
    row: dict[str, Any] = {"formula": str(truth.symbols), "atoms": len(truth)}
    begin = time.thread_time()
    try:
        optimizer = kind(FrechetCellFilter(atoms), logfile=None)
        optimizer.attach(lambda: energies.append(float(atoms.get_potential_energy())))
        row["converged"] = bool(optimizer.run(fmax=options.fmax, steps=options.steps))
        row["steps"] = optimizer.nsteps
    except Exception as error:  # a crash of one is a result of the benchmark
        row.update(converged=False, steps=len(energies), error=f"{type(error).__name__}: {error}")
    row["seconds"] = time.thread_time() - begin
    finite = bool(np.isfinite(energies).all() and np.isfinite(atoms.positions).all())
    row["finite"] = finite and bool(np.isfinite(atoms.cell.array).all())
    row["lower"] = row["finite"] and len(energies) > 0 and energies[-1] <= energies[0] + 1e-6
    row["volume_ratio"] = atoms.get_volume() / truth.get_volume()
    exploded = not row["finite"] or not 0.3 < row["volume_ratio"] < 3.0
    row["exploded"] = exploded
    rms = None if exploded else rms_distance(io.from_atoms(atoms), io.from_atoms(truth))
    row["rms"] = rms
    return row


def report(name: str, rows: list[dict[str, Any]]) -> None:
    n = len(rows)
    back = [row["rms"] for row in rows if row["rms"] is not None]
    ratios = [row["volume_ratio"] for row in rows if not row["exploded"]]

    def share(key: str) -> str:
        p = sum(bool(row[key]) for row in rows) / n
        return f"{p:.3f} ± {np.sqrt(p * (1 - p) / n):.3f}"

    print(f"{name}: n = {n}")
    print(f"  converged {share('converged')}, median steps {np.median([r['steps'] for r in rows])}")
    print(f"  back {len(back) / n:.3f}, RMS {np.mean(back) if back else np.nan:.4f}")
    print(
        f"  energy lower {share('lower')}, finite {share('finite')}, exploded {share('exploded')}"
    )
    if ratios:
        low, middle, high = np.percentile(ratios, (5, 50, 95))
        print(f"  volume / known: {middle:.3f} (5 to 95 %: {low:.3f} to {high:.3f})")
    print(f"  seconds each {np.mean([row['seconds'] for row in rows]):.2f} (processor time)")
    for row in rows:
        if "error" in row:
            print(f"  {row['formula']}: {row['error']}")


def calculators(options: argparse.Namespace) -> dict[str, Any]:
    ours = ContinuouSPCalculator(options.model, device="cpu", dtype=options.dtype)
    made: dict[str, Any] = {options.model: ours}
    if options.chgnet:
        try:
            from chgnet.model.dynamics import CHGNetCalculator
        except ImportError:
            print("chgnet is not installed: only ours runs")
        else:
            made["CHGNet"] = CHGNetCalculator(use_device="cpu")
    return made


class Journal:
    """Rows by calculator and number of the crystal, kept in a file if there is one."""

    def __init__(self, path: Path | None, settings: dict[str, str]) -> None:
        self.path = path
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        if path is None:
            return
        if not path.exists():
            path.write_text(json.dumps(settings) + "\n")
        first, *lines = path.read_text().splitlines()
        if json.loads(first) != settings:
            raise SystemExit(f"{path} was made with other settings: {first}")
        for line in lines:
            row = json.loads(line)
            self.rows[row["calculator"], row["crystal"]] = row

    def add(self, name: str, crystal: int, row: dict[str, Any]) -> None:
        self.rows[name, crystal] = row
        if self.path is not None:
            with self.path.open("a") as file:
                print(json.dumps({"calculator": name, "crystal": crystal, **row}), file=file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rattle", type=float, default=0.1, help="Å, each component")
    parser.add_argument("--strain", type=float, default=0.03)
    parser.add_argument("--optimizer", choices=("lbfgs", "fire"), default="lbfgs")
    parser.add_argument("--fmax", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--chgnet", action="store_true")
    parser.add_argument("--journal", type=Path)
    options = parser.parse_args()
    crystals = read_crystals(options.data)
    rng = np.random.default_rng(options.seed)
    known = set(load_model(options.model).elements)
    truths: list[Atoms] = []
    for n in rng.permutation(len(crystals)):
        one = crystals.select([n])
        if set(one.numbers.tolist()) <= known:
            truths += io.to_atoms(one)
        if len(truths) == options.limit:
            break
    starts = [disturbed(atoms, options.rattle, options.strain, rng) for atoms in truths]
    pairs = list(zip(starts, truths, strict=True))
    before = [rms_distance(io.from_atoms(s), io.from_atoms(t)) for s, t in pairs]
    matched = [rms for rms in before if rms is not None]
    print(f"{options.data}, {len(truths)} crystals, {options.optimizer}, fmax {options.fmax}")
    print(f"as start: {len(matched) / len(truths):.3f} match, RMS {np.mean(matched):.4f}")
    free = ("chgnet", "journal")
    settings = {k: str(v) for k, v in vars(options).items() if k not in free}
    journal = Journal(options.journal, settings)
    for name, calc in calculators(options).items():
        for n, (start, truth) in enumerate(pairs):
            if (name, n) not in journal.rows:
                journal.add(name, n, relax(start, truth, calc, options))
        report(name, [journal.rows[name, n] for n in range(len(pairs))])


if __name__ == "__main__":
    main()
