"""``train``: crystals in, a model folder out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    data: Annotated[
        list[Path], typer.Option("--data", help="CSV with CIFs, extxyz or ase.db; repeatable.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Model folder.")],
    val: Annotated[Path | None, typer.Option(help="Validation file; its loss is logged.")] = None,
    preset: Annotated[
        str, typer.Option(help="perov5, mp20, mp20-grown, mpts52 or carbon24.")
    ] = "mp20",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
    start_from: Annotated[
        str | None, typer.Option(help="Model whose weights to begin with, grown to size.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates, instead of the preset's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Crystals an update.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and noise.")] = 0,
    precision: Annotated[str, typer.Option(help="fp32 or fp64.")] = "fp32",
    objective: Annotated[str | None, typer.Option(help="score.")] = None,
) -> None:
    """Train an energy on crystals; an interrupted run resumes to the same result."""
    from ase_continuousp.training.config import TrainConfig
    from ase_continuousp.training.trainer import train

    config = TrainConfig.preset(preset, seed=seed, precision=precision)
    changes: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "objective": objective}
    config = replace(config, **{k: v for k, v in changes.items() if v is not None})
    processes = os.cpu_count() or 1
    model = train(
        config,
        data,
        out,
        val=val,
        resume=resume,
        start_from=start_from,
        processes=processes,
        progress=True,
    )
    typer.echo(f"model: {model}")
