"""``train``: crystals in, a model folder out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="CSV with CIFs, extxyz, ase.db, aselmdb, pymatgen JSON or a folder; repeatable.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Model folder.")],
    val: Annotated[Path | None, typer.Option(help="Validation file; its loss is logged.")] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="perov5, perov5-sharp, perov5-contrast, mp20, mp20-grown, mp20-sharp, "
            "mp20-contrast, mpts52, mpts52-sharp, carbon24, carbon24-contrast, small, paper."
        ),
    ] = "mp20",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
    start_from: Annotated[
        str | None, typer.Option(help="Model whose weights to begin with, grown to size.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates, instead of the preset's.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Crystals an update; steps, rate and warm-up follow, see --scaling."),
    ] = None,
    scaling: Annotated[
        str, typer.Option(help="Learning rate of another batch size: sqrt, linear or none.")
    ] = "sqrt",
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.")] = None,
    decay: Annotated[
        str | None, typer.Option(help="After the warm-up: cosine, linear or constant.")
    ] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the average; 0 turns it off.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and noise.")] = 0,
    precision: Annotated[
        str, typer.Option(help="fp32, fp64, fp16-mixed, bf16-mixed, bf16-sr or bf16.")
    ] = "fp32",
    objective: Annotated[
        str | None, typer.Option(help="score, score-contrast, dsm, cd or pcd.")
    ] = None,
    chain_steps: Annotated[
        int | None, typer.Option(help="Steps of the chains of score-contrast, cd and pcd.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse bad rows instead of leaving them out.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder of TensorBoard's event files.")
    ] = None,
    devices: Annotated[
        int, typer.Option(help="Processes on each node that share a batch, by Lightning.")
    ] = 1,
    nodes: Annotated[int, typer.Option(help="Nodes, by Lightning.")] = 1,
) -> None:
    """Train an energy on crystals; an interrupted run resumes to the same result."""
    from ase_continuousp.training.config import TrainConfig
    from ase_continuousp.training.run_state import has_state
    from ase_continuousp.training.trainer import train

    config = TrainConfig.preset(preset, seed=seed, precision=precision)
    if batch_size is not None:
        config = config.with_batch_size(batch_size, scaling)
    changes: dict[str, Any] = {
        "steps": steps,
        "learning_rate": learning_rate,
        "decay": decay,
        "ema": ema,
        "objective": objective,
    }
    config = replace(config, **{k: v for k, v in changes.items() if v is not None})
    if chain_steps is not None:
        options = config.objective_options | {"chain_steps": chain_steps}
        config = replace(config, objective_options=options)
    if (devices, nodes) != (1, 1):
        from ase_continuousp.training.lightning_launch import launch

        launch(devices, nodes)
    processes = os.cpu_count() or 1
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder: {out}")
    try:
        model = train(
            config,
            data,
            out,
            val=val,
            resume=resume,
            start_from=start_from,
            strict=strict,
            tensorboard=tensorboard,
            processes=processes,
            progress=True,
        )
    except KeyboardInterrupt:
        if has_state(out):
            typer.echo(f"the same command with --resume goes on: {out}", err=True)
        raise
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0:
        typer.echo(f"model: {model}")
