"""``predict``: a formula in, ranked crystals out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    formula: Annotated[str, typer.Argument(help="Chemical formula, for example SrTiO3.")],
    number: Annotated[
        int, typer.Option("-n", "--number", help="Starts, and candidates at most.")
    ] = 20,
    units: Annotated[
        str | None, typer.Option(help="Formula units in the cell, for example 1,2,4.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="Where to start: random, symmetric, prototype or mixed.")
    ] = "mixed",
    model: Annotated[str, typer.Option(help="Shipped model or model folder.")] = "mp20",
    spacegroup: Annotated[
        str | None, typer.Option(help="Search within this space group only, number or symbol.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="FILE.cif, .extxyz, .traj or .db")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page that needs no network.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the ranked table as JSON.")
    ] = None,
) -> None:
    """Predict crystals of a formula, duplicates merged, best first."""
    from ase_continuousp import io, page
    from ase_continuousp.cli.output import check_text_file, write_text
    from ase_continuousp.plot import check_matplotlib
    from ase_continuousp.search.candidates import Candidate, format_table, write_candidates
    from ase_continuousp.search.predict import predict

    if output is not None:
        io.check_writable(output)
    check_text_file("--json", json_file)
    check_text_file("--html", html)
    if html is not None:
        check_matplotlib()
    group = int(spacegroup) if spacegroup is not None and spacegroup.isdecimal() else spacegroup
    found: list[Candidate] = predict(
        formula,
        model=model,
        n_samples=number,
        formula_units=None if units is None else parse_units(units),
        start=start,
        spacegroup=group,
        seed=seed,
        device=device,
        progress=True,
    )
    if not found:
        raise ValueError(f"formula: no start of {formula!r} ended in a crystal of reasonable size")
    typer.echo(format_table(found))
    if output is not None:
        write_candidates(output, found)
    if json_file is not None:
        rows = [_row(rank, one) for rank, one in enumerate(found, start=1)]
        write_text(json_file, json.dumps({"formula": formula, "candidates": rows}, indent=1))
    if html is not None:
        write_text(html, page.render(formula, found, model=model, progress=True))


def parse_units(text: str) -> list[int]:
    """Return numbers of formula units from text such as "1,2,4".

    Raises
    ------
    ValueError
        If a part is no positive whole number.

    Examples
    --------
    >>> parse_units("1,2,4")
    [1, 2, 4]
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"units must be positive whole numbers such as 1,2,4: {text!r}")
    return [int(part) for part in parts]


def _row(rank: int, candidate: Any) -> dict[str, Any]:
    symbol, number = candidate.spacegroup
    return {
        "rank": rank,
        "formula": candidate.formula,
        "formula_units": candidate.formula_units,
        "spacegroup": {"symbol": symbol, "number": number},
        "probability": candidate.probability,
        "energy_per_atom": candidate.energy_per_atom,
        "n_found": candidate.n_found,
        "converged": candidate.converged,
        "clash": candidate.clash,
        "start": candidate.start,
        "start_label": candidate.label,
        "cell": candidate.atoms.cell.tolist(),
        "numbers": candidate.atoms.numbers.tolist(),
        "positions": candidate.atoms.positions.tolist(),
    }
