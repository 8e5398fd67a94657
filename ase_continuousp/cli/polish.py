"""``polish``: train the last small step to the truth, into the folder of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from safetensors import safe_open


def run(
    model: Annotated[Path, typer.Option(help="Folder of a model with a prototype library.")],
    data: Annotated[
        list[Path], typer.Option("--data", help="Training files of the model; repeatable.")
    ],
    val: Annotated[
        Path | None,
        typer.Option(help="Validation file, to choose how much of the step to take; else all."),
    ] = None,
    kinds: Annotated[
        str, typer.Option(help="What it moves: prototypes, or all: ends of chains too.")
    ] = "prototypes",
    compositions: Annotated[
        int | None, typer.Option(help="Training crystals to learn from, instead of 60,000.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates, instead of 16,000.")] = None,
    seed: Annotated[int, typer.Option(help="Of choice and order.")] = 0,
) -> None:
    """Train the last step of a model; an interrupted run goes on to the same result."""
    from ase_continuousp.training.polishing import PolishConfig, train_polish

    asked = {"n_compositions": compositions, "steps": steps}
    changes = {name: value for name, value in asked.items() if value is not None}
    made = train_polish(
        model,
        data,
        PolishConfig(seed=seed, **changes),
        kinds=kinds,
        val=val,
        processes=os.cpu_count() or 1,
        progress=True,
    )
    with safe_open(made, framework="pt") as stream:
        told = stream.metadata()["trained_on"]
    typer.echo(f"polish: {made} ({told})")
