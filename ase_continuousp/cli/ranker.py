"""``ranker``: train what orders the prototypes of a search, into the folder of a model."""

from __future__ import annotations

import os
from dataclasses import replace
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
    formula: Annotated[
        bool,
        typer.Option(
            "--formula", help="For searches from a formula; CSV files need a column e_above_hull."
        ),
    ] = False,
    lists: Annotated[
        int | None,
        typer.Option(
            help="Training crystals to learn from, instead of 20,000; with --formula those on the "
            "hull."
        ),
    ] = None,
    val: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files of crystals that were not learned from: searches for some of them fit what "
            "generated crystals count beside prototypes. With --formula as --data."
        ),
    ] = None,
    searches: Annotated[int, typer.Option(help="Crystals of --val to search.")] = 300,
    seed: Annotated[int, typer.Option(help="Of choice and order.")] = 0,
) -> None:
    """Train the ranker of a model; an interrupted run goes on to the same result."""
    from ase_continuousp.arguments import check_count
    from ase_continuousp.training.formula_ranking import FORMULA_CONFIG, train_formula_ranker
    from ase_continuousp.training.list_constants import fit_constants, to_be_searched
    from ase_continuousp.training.ranking import RankerConfig, train_ranker

    changes = {} if lists is None else {"n_lists": lists}
    processes = os.cpu_count() or 1
    check_count("--searches", searches)
    if val:
        to_be_searched(val, formula=formula, processes=processes)  # what is wrong is told at once
    if formula:
        if fresh:
            raise ValueError("--fresh is not for --formula: give all files as --data")
        made = train_formula_ranker(
            model,
            data,
            replace(FORMULA_CONFIG, seed=seed, **changes),
            processes=processes,
            progress=True,
        )
    else:
        made = train_ranker(
            model,
            data,
            RankerConfig(seed=seed, **changes),
            fresh=fresh or (),
            processes=processes,
            progress=True,
        )
    typer.echo(f"ranker: {made}")
    if val:
        constants = fit_constants(
            model,
            val,
            formula=formula,
            n_searches=searches,
            seed=seed,
            processes=processes,
            progress=True,
        )
        typer.echo(f"constants: {constants}")
