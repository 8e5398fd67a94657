"""``evaluate``: match rate and RMSE of a model on test crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Option(help="Shipped model or model folder.")],
    data: Annotated[Path, typer.Option(help="CSV with CIFs, extxyz or ase.db.")],
    k: Annotated[int, typer.Option("-k", help="Samples per crystal.")] = 1,
    start: Annotated[str, typer.Option(help="random, symmetric, prototype or mixed.")] = "random",
    chains: Annotated[
        int, typer.Option(help="Chains per sample; the lowest in energy counts.")
    ] = 1,
    limit: Annotated[
        int | None, typer.Option(help="The first N crystals after a shuffle by the seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of shuffle and samples.")] = 0,
    processes: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Validity, variety and more of what was found.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(help="Known crystals, for novelty (with --metrics).")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the report; with it an interrupted run can go on."),
    ] = None,
) -> None:
    """Measure how often a model finds test crystals from their compositions."""
    from ase_continuousp.cli.output import check_text_file
    from ase_continuousp.evaluation.evaluate import evaluate
    from ase_continuousp.evaluation.metrics.of_report import with_metrics

    check_text_file("--json", json_file)
    if reference is not None and not metrics:
        raise ValueError("--reference must come with --metrics")
    if reference is not None and not reference.is_file():
        raise FileNotFoundError(f"--reference must be an existing file: {reference}")
    # Beside the report until it is complete: the same command goes on where it was interrupted.
    journal = None if json_file is None else json_file.with_name(f"{json_file.name}.partial")
    try:
        report = evaluate(
            model,
            data,
            k=k,
            start=start,
            n_chains=chains,
            limit=limit,
            seed=seed,
            processes=processes,
            progress=True,
            journal=journal,
        )
    except KeyboardInterrupt:
        if journal is not None:
            typer.echo(f"the same command goes on with the batches done: {journal}", err=True)
        raise
    if metrics:
        report = with_metrics(report, data, reference=reference, progress=True)
    if json_file is not None and journal is not None:
        report.save(json_file)
        journal.unlink()
    typer.echo(report.summary())
