"""Candidates as a table of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ase_continuousp.search.candidates import Candidate

_Column = tuple[str, bool, Callable[[Candidate], str]]  # title, whether it is a number, text


def format_table(candidates: Sequence[Candidate]) -> str:
    """Return the candidates as a table of text, one a line.

    The order is that of the probability of being right, where the model gives one, or that of a
    second calculator. Energies are those of the learned model; with a second one, those of both
    also above the lowest, and "hull" is the energy above the hull of known phases.

    Examples
    --------
    >>> from ase.build import bulk
    >>> salt = Candidate(bulk("NaCl", "rocksalt", a=5.6), -1.0, ("Fm-3m", 225), 3, 1, True, False)
    >>> print(format_table([salt]))
    rank  formula  Z  space group  probability  energy/atom  found  start  flags
       1  NaCl     1  Fm-3m (225)            -      -1.0000      3
    """
    columns = _columns(candidates)
    rows = [["rank", *(title for title, _, _ in columns)]] + [
        [str(rank), *(text(one) for _, _, text in columns)]
        for rank, one in enumerate(candidates, start=1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    are_numbers = [True, *(is_number for _, is_number, _ in columns)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ).rstrip()
        for row in rows
    )


def _columns(candidates: Sequence[Candidate]) -> list[_Column]:
    lowest = min((one.energy_per_atom for one in candidates), default=0.0)
    crystal: list[_Column] = [
        ("formula", False, lambda c: c.formula),
        ("Z", False, lambda c: str(c.formula_units)),
        ("space group", False, lambda c: _group(c.spacegroup)),
        ("probability", True, lambda c: _number(c.probability, 3)),
        ("energy/atom", True, lambda c: _number(c.energy_per_atom)),
    ]
    origin: list[_Column] = [
        ("found", True, lambda c: str(c.n_found)),
        ("start", False, lambda c: c.start),
        ("flags", False, lambda c: ", ".join(c.flags)),
    ]
    second = next((one.second for one in candidates if one.second is not None), None)
    if second is None:
        return crystal + origin
    told: list[_Column] = [
        ("above", True, lambda c: _number(c.energy_per_atom - lowest)),
        (
            second.short_name,
            True,
            lambda c: _number(c.second.energy_per_atom if c.second else None),
        ),
        ("above", True, lambda c: _number(c.second.above if c.second else None)),
        ("relaxed to", False, lambda c: _group(c.second.spacegroup) if c.second else "-"),
    ]
    if second.above_hull is not None:
        told.append(("hull", True, lambda c: _number(c.second.above_hull if c.second else None)))
    return crystal + told + origin


def _group(spacegroup: tuple[str, int]) -> str:
    symbol, number = spacegroup
    return f"{symbol} ({number})" if number else "-"


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
