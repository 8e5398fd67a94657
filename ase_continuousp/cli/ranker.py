"""``ranker``: train what orders the prototypes of a search, into the folder of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[
        Path, typer.Option(help="Folder of a model with a prototype library and a judge.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", help="Training files of the model; repeatable.")
    ],
    fresh: Annotated[
        list[Path] | None,
        typer.Option(help="Files that the library was made without, to learn from too."),
    ] = None,
    lists: Annotated[
        int | None, typer.Option(help="Training crystals to learn from, instead of 20,000.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of choice and order.")] = 0,
) -> None:
    """Train the ranker of a model; an interrupted run goes on to the same result."""
    from ase_continuousp.training.ranking import RankerConfig, train_ranker

    changes = {} if lists is None else {"n_lists": lists}
    made = train_ranker(
        model,
        data,
        RankerConfig(seed=seed, **changes),
        fresh=fresh or (),
        processes=os.cpu_count() or 1,
        progress=True,
    )
    typer.echo(f"ranker: {made}")
