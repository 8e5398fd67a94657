"""``library``: the prototypes of training files, into the folder of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[Path, typer.Option(help="Folder of the model that gets the library.")],
    data: Annotated[
        list[Path], typer.Option("--data", help="Training files of the model; repeatable.")
    ],
    beside: Annotated[
        list[Path] | None,
        typer.Option("--beside", help="Further crystals that are to count less; repeatable."),
    ] = None,
    relax: Annotated[
        bool, typer.Option(help="Relax relatives of crystals without a like in the model.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Write here instead.")] = None,
) -> None:
    """Build the prototype library that searches of a model start from."""
    from ase_continuousp.model.checkpoint import load_model
    from ase_continuousp.search.sources import PROTOTYPES
    from ase_continuousp.starts.from_files import library_from_files

    trained = load_model(model)
    if out is None:
        trained.require_own_folder()
    target = trained.path / PROTOTYPES if out is None else out
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"--out must lie in an existing folder: {target}")
    library = library_from_files(
        data,
        beside=beside or (),
        energy=trained.energy() if relax else None,
        processes=os.cpu_count() or 1,
        progress=True,
    )
    library.save(target)
    typer.echo(f"prototypes: {library.n_prototypes} in {target}")
