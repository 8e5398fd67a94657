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
        int, typer.Option(help="Chains per sample; the lowest in energy counts (--choose).")
    ] = 1,
    choose: Annotated[
        str,
        typer.Option(
            help="lowest of the chains of each sample, or spread: those that stand for all."
        ),
    ] = "lowest",
    window: Annotated[
        float | None,
        typer.Option(help="Leave out generated samples this far above the lowest energy per atom."),
    ] = None,
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
    energies: Annotated[
        str | None,
        typer.Option(help="For stability: chgnet, or module:factory of an ASE calculator."),
    ] = None,
    phases: Annotated[
        list[Path] | None,
        typer.Option(
            help="Known crystals to be stable against (with --energies); those of --reference "
            "if not given. May be repeated."
        ),
    ] = None,
    cutoffs: Annotated[
        str, typer.Option(help="Of the coverage, as for mp_20, perov_5 or carbon_24.")
    ] = "mp_20",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the report; with it an interrupted run can go on."),
    ] = None,
) -> None:
    """Measure how often a model finds test crystals from their compositions."""
    from ase_continuousp.cli.output import check_file, tell_if_without_library
    from ase_continuousp.evaluation.evaluate import evaluate
    from ase_continuousp.evaluation.metrics.coverage import CUTOFFS
    from ase_continuousp.evaluation.metrics.of_report import with_metrics
    from ase_continuousp.search.second import calculator_of

    check_file("--json", json_file)
    given = {"--reference": reference, "--energies": energies, "--phases": phases or None}
    for option, value in given.items():
        if value is not None and not metrics:
            raise ValueError(f"{option} must come with --metrics")
    if phases and energies is None:
        raise ValueError("--phases must come with --energies")
    if energies is not None and not phases and reference is None:
        raise ValueError("--energies must come with --phases or --reference")
    if cutoffs not in CUTOFFS:
        raise ValueError(f"--cutoffs must be one of {', '.join(CUTOFFS)}: {cutoffs!r}")
    for path in (*([reference] if reference else []), *(phases or [])):
        if not path.exists():
            raise FileNotFoundError(f"--reference and --phases must exist: {path}")
    calculator = None if energies is None else calculator_of(energies)
    # Beside the report until it is complete: the same command goes on where it was interrupted.
    journal = None if json_file is None else json_file.with_name(f"{json_file.name}.partial")
    try:
        report = evaluate(
            model,
            data,
            k=k,
            start=start,
            n_chains=chains,
            choose=choose,
            window=window,
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
        report = with_metrics(
            report,
            data,
            reference=reference,
            calculator=calculator,
            phases=phases or None,
            cutoffs=CUTOFFS[cutoffs],
            progress=True,
        )
    if json_file is not None and journal is not None:
        report.save(json_file)
        journal.unlink()
    tell_if_without_library(model, start)
    typer.echo(report.summary())
