"""``predict --formulas``: a file of formulas in, a database of ranked crystals out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ase_continuousp.search.second import SecondCalculator


def run(
    formulas: Path,
    output: str,
    options: dict[str, Any],
    second: SecondCalculator | None,
    processes: int,
    scheduler: str | None,
) -> None:
    """Search the formulas of a file, here or on a Dask cluster; go on where it was interrupted."""
    from ase_continuousp.cli.output import tell_if_without_library
    from ase_continuousp.search.cluster import connect
    from ase_continuousp.search.database import check_address
    from ase_continuousp.search.many import predict_many, read_formulas

    check_address(output)
    wanted = read_formulas(formulas)
    try:
        with nullcontext() if scheduler is None else connect(scheduler) as client:
            tally = predict_many(
                wanted,
                output,
                refine=second,
                executor=client,
                processes=processes,
                progress=True,
                **options,
            )
    except KeyboardInterrupt:
        typer.echo(f"the same command goes on with what is left: {output}", err=True)
        raise
    tell_if_without_library(options["model"], options["start"])
    typer.echo(
        f"{tally.done} formulas done, {tally.refused} refused, {tally.skipped} done before, "
        f"{tally.lost} lost: {output}"
    )
    for formula, reason in tally.reasons.items():
        typer.echo(f"refused: {formula}: {reason.partition('; supported')[0]}", err=True)
    if tally.lost:
        typer.echo(f"first loss: {tally.error}; the same command tries again", err=True)
        raise typer.Exit(1)
