"""``relax``: structures in, relaxed structures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ase import Atoms


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
    if not fmax > 0:
        raise ValueError(f"fmax must be positive: {fmax}")
    if steps < 0:
        raise ValueError(f"steps must not be negative: {steps}")
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from tqdm import tqdm

    from ase_continuousp import io
    from ase_continuousp.calculator import ContinuouSPCalculator

    io.check_writable(output, "--output")
    structures = io.read_atoms(source)
    calculator = ContinuouSPCalculator(model, dtype="float64")
    for n, atoms in enumerate(structures):
        # Before the first of many is relaxed: a bad one must not cost the work on the others.
        atoms.calc = calculator
        try:
            atoms.get_potential_energy()
        except ValueError as error:
            raise ValueError(f"structure {n} of {source}: {error}") from error
    n_converged = 0
    with tqdm(desc="relaxing", unit="step", delay=2.0) as bar:
        for n, atoms in enumerate(structures):
            bar.set_description(f"relaxing {n + 1} of {len(structures)}")
            given = list(atoms.constraints)
            if fix_symmetry:
                atoms.set_constraint([*given, FixSymmetry(atoms)])
            moving: Any = atoms if fix_cell else FrechetCellFilter(atoms)
            # The funnels are steep with narrow bottoms: LBFGS, which asks for no decrease of the
            # energy, leaps over some of them for ever.
            optimizer: Any = FIRE(moving, logfile=None)
            optimizer.attach(bar.update)
            n_converged += bool(optimizer.run(fmax=fmax, steps=steps))
            atoms.set_constraint(given)
            _keep_results(atoms)
    io.write_atoms(output, structures)
    typer.echo(
        f"{n_converged} of {len(structures)} converged to fmax {fmax} within {steps} steps: "
        f"{output}"
    )


def _keep_results(atoms: Atoms) -> None:
    """Replace the calculator, which all structures share, by its results for this one."""
    from ase.calculators.singlepoint import SinglePointCalculator

    results = {
        "energy": atoms.get_potential_energy(),
        "free_energy": atoms.get_potential_energy(force_consistent=True),
        "energies": atoms.get_potential_energies(),
        "forces": atoms.get_forces(apply_constraint=False),
        "stress": atoms.get_stress(apply_constraint=False),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
