"""``relax``: structures in, relaxed structures out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="CIF, extxyz, traj or db file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.cif, .extxyz, .traj or .db")],
    model: Annotated[str, typer.Option(help="Shipped model or model folder.")] = "mp20",
    fmax: Annotated[float, typer.Option(help="Largest force at the end, per Å.")] = 0.05,
    steps: Annotated[int, typer.Option(help="Largest number of steps.")] = 500,
    fix_cell: Annotated[bool, typer.Option("--fix-cell", help="Move atoms only.")] = False,
    fix_symmetry: Annotated[
        bool, typer.Option("--fix-symmetry", help="Keep the space group of the input.")
    ] = False,
) -> None:
    """Relax atoms and cell with the learned energy."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS
    from tqdm import tqdm

    from ase_continuousp import io
    from ase_continuousp.calculator import ContinuouSPCalculator

    if not fmax > 0:
        raise ValueError(f"fmax must be positive: {fmax}")
    if steps < 0:
        raise ValueError(f"steps must not be negative: {steps}")
    io.check_writable(output)
    structures = io.read_atoms(source)
    calculator = ContinuouSPCalculator(model, dtype="float64")
    done: list[Any] = []
    reached = 0
    for atoms in tqdm(structures, desc="relaxing", unit="crystal", disable=len(structures) < 2):
        atoms.calc = calculator
        if fix_symmetry:
            atoms.set_constraint([*atoms.constraints, FixSymmetry(atoms)])
        moving = atoms if fix_cell else FrechetCellFilter(atoms)
        reached += bool(LBFGS(moving, logfile=None).run(fmax=fmax, steps=steps))
        results = {name: atoms.calc.results[name] for name in ("energy", "forces", "stress")}
        atoms.set_constraint()
        atoms.calc = SinglePointCalculator(atoms, **results)
        done.append(atoms)
    io.write_atoms(output, done)
    typer.echo(f"{reached} of {len(done)} converged to fmax {fmax} within {steps} steps: {output}")
