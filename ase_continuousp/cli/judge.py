"""``judge``: train what tells right prototypes from wrong ones, into the folder of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[Path, typer.Option(help="Folder of a model with a prototype library.")],
    data: Annotated[
        list[Path], typer.Option("--data", help="Training files of the model; repeatable.")
    ],
    val: Annotated[Path | None, typer.Option(help="Validation file; its loss is logged.")] = None,
    compositions: Annotated[
        int | None, typer.Option(help="Training crystals to learn from, instead of 16,000.")
    ] = None,
    generated: Annotated[
        int | None,
        typer.Option(help="How many of them the model generates crystals for, instead of 1,500."),
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="File of a judge to go on from.", metavar="FILE")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of choice and order.")] = 0,
) -> None:
    """Train the judge of a model; an interrupted run goes on to the same result."""
    from ase_continuousp.training.judging import JudgeConfig, train_judge

    asked = {"n_compositions": compositions, "n_generated": generated}
    changes = {name: value for name, value in asked.items() if value is not None}
    made = train_judge(
        model,
        data,
        JudgeConfig(seed=seed, **changes),
        val=val,
        start_from=start_from,
        processes=os.cpu_count() or 1,
        progress=True,
    )
    typer.echo(f"judge: {made}")
