"""``predict``: a formula in, ranked crystals out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_continuousp.cli import many

if TYPE_CHECKING:
    from ase_continuousp.search.second import SecondCalculator


def run(
    formula: Annotated[
        str | None, typer.Argument(help="Chemical formula, for example SrTiO3.")
    ] = None,
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
    lengths: Annotated[
        str | None, typer.Option(help="Lowest and highest length of the reduced cell, Å: 3,8.")
    ] = None,
    angles: Annotated[
        str | None, typer.Option(help="Lowest and highest angle of the reduced cell: 60,120.")
    ] = None,
    volume: Annotated[
        str | None, typer.Option(help="Lowest and highest volume per atom, Å³: 8,20.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(help="Drop generated crystals this far above the lowest energy per atom."),
    ] = None,
    implausible: Annotated[
        bool,
        typer.Option("--implausible", help="Offer what the judge thinks too unlikely as well."),
    ] = False,
    refine: Annotated[
        str | None,
        typer.Option(help="Relax and rank the best with chgnet or any MODULE:FACTORY of ASE."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many --refine relaxes.")] = 5,
    entries: Annotated[
        Path | None,
        typer.Option(help="pymatgen entries (JSON): with --refine, energies above their hull."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="FILE.cif, .extxyz, .traj or .db"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page that needs no network.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the ranked table as JSON.")
    ] = None,
    formulas: Annotated[
        Path | None,
        typer.Option(help="A file of formulas instead of one; goes on where it was interrupted."),
    ] = None,
    processes: Annotated[int, typer.Option(help="Worker processes for --formulas.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler for --formulas.")
    ] = None,
) -> None:
    """Predict crystals of a formula, duplicates merged, best first."""
    from ase_continuousp.search.bounds import Bounds
    from ase_continuousp.search.hull import KnownPhases
    from ase_continuousp.search.second import SecondCalculator

    if (formula is None) == (formulas is None):
        raise ValueError("predict takes a formula or --formulas FILE, and not both")
    if entries is not None and refine is None:
        raise ValueError("--entries needs --refine: the learned energy is no formation energy")
    known = None if entries is None else KnownPhases.read(entries)
    options: dict[str, Any] = {
        "model": model,
        "n_samples": number,
        "formula_units": None if units is None else parse_units(units),
        "start": start,
        "spacegroup": int(spacegroup) if spacegroup and spacegroup.isdecimal() else spacegroup,
        "bounds": Bounds(
            parse_range("--lengths", lengths),
            parse_range("--angles", angles),
            parse_range("--volume", volume),
        )
        if lengths or angles or volume
        else None,
        "window": window,
        "implausible": implausible,
        "seed": seed,
        "device": device,
    }
    second = None if refine is None else SecondCalculator(refine, top=top, known=known)
    if formula is not None:
        if scheduler is not None:
            raise ValueError("--scheduler is for --formulas")
        _search(formula, options, second, output, html, json_file)
    elif output is None or html is not None or json_file is not None:
        raise ValueError("--formulas needs -o FILE.db or postgresql://..., and writes nothing else")
    else:
        assert formulas is not None
        many.run(formulas, output, options, second, processes, scheduler)


def _search(
    formula: str,
    options: dict[str, Any],
    second: SecondCalculator | None,
    output: str | None,
    html: Path | None,
    json_file: Path | None,
) -> None:
    from ase_continuousp import io, page
    from ase_continuousp.cli.output import check_file, tell_if_without_library, write_text
    from ase_continuousp.plot import check_matplotlib
    from ase_continuousp.search.candidates import Candidate, write_candidates
    from ase_continuousp.search.predict import predict
    from ase_continuousp.search.second import calculator_of
    from ase_continuousp.search.table import format_table

    if output is not None:
        io.check_writable(output, "--output")
    check_file("--json", json_file)
    check_file("--html", html)
    if html is not None:
        check_matplotlib()
    if second is not None:
        calculator_of(second.name)  # what is missing is to be said before the search
    found: list[Candidate] = predict(formula, progress=True, **options)
    if not found:
        raise ValueError(f"formula: no start of {formula!r} ended in a crystal of reasonable size")
    if second is not None:
        found = second(found, progress=True)
    tell_if_without_library(options["model"], options["start"])
    typer.echo(format_table(found))
    if output is not None:
        write_candidates(output, found)
    if json_file is not None:
        rows = [_row(rank, one) for rank, one in enumerate(found, start=1)]
        write_text(json_file, json.dumps({"formula": formula, "candidates": rows}, indent=1))
    if html is not None:
        write_text(html, page.render(formula, found, model=options["model"], progress=True))


def parse_range(option: str, text: str | None) -> tuple[float, float] | None:
    """Return the two numbers of text such as "3,8", none for none.

    Raises
    ------
    ValueError
        If it is not two numbers.

    Examples
    --------
    >>> parse_range("--lengths", "3,8")
    (3.0, 8.0)
    """
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{option} must be two numbers such as 3,8: {text!r}") from None
    return low, high


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
        "volume_outlier": candidate.volume_outlier,
        "second": None if candidate.second is None else asdict(candidate.second),
        "start": candidate.start,
        "start_label": candidate.label,
        "cell": candidate.atoms.cell.tolist(),
        "numbers": candidate.atoms.numbers.tolist(),
        "positions": candidate.atoms.positions.tolist(),
    }
