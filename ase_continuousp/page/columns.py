"""The ranked table of a page: a column is its title, what it says, and how it is sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase_continuousp.search.candidates import Candidate


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Parameters
    ----------
    title : str
    text : callable
        (rank, candidate) to what the cell says; empty where there is nothing to say.
    value : callable, optional
        (rank, candidate) to the number that the column is sorted by; its text if not given.
    note : str
        Shown when the pointer rests on the title.
    side : {"n", "t"}
        Numbers stand to the right, text to the left.
    """

    title: str
    text: Callable[[int, Candidate], str]
    value: Callable[[int, Candidate], float | None] | None = None
    note: str = ""
    side: str = "n"


def group(candidate: Candidate) -> str:
    """Return the space group of a candidate as text."""
    symbol, number = candidate.spacegroup
    return f"{symbol} ({number})" if number else ""


def number(value: float, digits: int) -> str:
    """Return a number with a minus sign that is one.

    Examples
    --------
    >>> number(-1.25, 1)
    '−1.2'
    """
    return f"{value:.{digits}f}".replace("-", "−")


def _probability(candidate: Candidate) -> str:
    return "" if candidate.probability is None else f"{candidate.probability:.3f}"


COLUMNS: tuple[Column, ...] = (
    Column("Rank", lambda rank, _: str(rank), lambda rank, _: rank),
    Column("Formula", lambda _, c: c.formula, note="of the cell"),
    Column("Z", lambda _, c: str(c.formula_units), lambda _, c: c.formula_units, "formula units"),
    Column("Space group", lambda _, c: group(c), lambda _, c: c.spacegroup[1], "within 0.1 Å", "t"),
    Column(
        "Probability",
        lambda _, c: _probability(c),
        lambda _, c: c.probability,
        "of being the right crystal; what is missing to 1 is the chance that none of them is",
    ),
    Column(
        "Energy per atom",
        lambda _, c: number(c.energy_per_atom, 4),
        lambda _, c: c.energy_per_atom,
        "of the learned model, in no unit; lower is more plausible",
    ),
    Column(
        "Volume per atom / Å³",
        lambda _, c: f"{c.atoms.get_volume() / len(c.atoms):.2f}",
        lambda _, c: c.atoms.get_volume() / len(c.atoms),
    ),
    Column("Found", lambda _, c: str(c.n_found), lambda _, c: c.n_found, "starts that ended here"),
    Column("Start", lambda _, c: f"{c.start} {c.label}".strip()),
    Column("Flags", lambda _, c: ", ".join(c.flags)),
)


def table(candidates: Sequence[Candidate]) -> str:
    """Return the table of candidates as HTML; columns that say nothing are left out."""
    rows = list(enumerate(candidates, start=1))
    used = [c for c in COLUMNS if any(c.text(rank, one) for rank, one in rows)]
    head = "".join(_head(number, column) for number, column in enumerate(used))
    body = "".join(
        f"<tr tabindex='0' data-candidate='{rank - 1}'>"
        + "".join(_cell(column, rank, one) for column in used)
        + "</tr>"
        for rank, one in rows
    )
    return f"<table id='ranked'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _head(number: int, column: Column) -> str:
    kind = column.side if column.value else "t"
    state = " aria-sort='ascending'" if number == 0 else ""
    note = f" title='{escape(column.note)}'" if column.note else ""
    return (
        f"<th scope='col' class='{kind}'{state}{note}>"
        f"<button type='button'>{escape(column.title)}</button></th>"
    )


def _cell(column: Column, rank: int, one: Candidate) -> str:
    text = escape(column.text(rank, one)) or "–"
    if column.value is None:
        return f"<td class='t'>{text}</td>"
    value = column.value(rank, one)
    key = "" if value is None else repr(float(value))
    return f"<td class='{column.side}' data-value='{key}'>{text}</td>"
