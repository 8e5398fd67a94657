"""``calibrate``: formation energies from a model's energy and its composition."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[Path, typer.Option(help="Folder of a model.")],
    data: Annotated[
        Path, typer.Option(help="CSV with the columns cif and formation_energy_per_atom.")
    ],
    test: Annotated[Path | None, typer.Option(help="Another one, to measure on.")] = None,
) -> None:
    """Fit formation energies [eV/atom] and write them into the folder of a model."""
    from ase_continuousp.training.formation import calibrate

    made = calibrate(model, data, test=test, processes=os.cpu_count() or 1, progress=True)
    typer.echo(f"energy unit: {made['energy_unit']} eV")
    typer.echo(f"mean absolute error of the fit: {made['mae_fitted']} eV/atom")
    for name, value in made.get("test", {}).items():
        typer.echo(f"test, {name.replace('_', ' ')}: {value}")
