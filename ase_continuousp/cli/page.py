"""One self-contained page of results: no script, no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from ase.io import write

from ase_continuousp import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ase_continuousp.search.candidates import Candidate

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid #ddd; }
section { display: inline-block; width: 19rem; vertical-align: top; } img { width: 100%; }
pre { overflow-x: auto; font-size: 11px; background: #f6f6f6; padding: .5rem; }
"""
_SHOWN = 9


def render(formula: str, candidates: Sequence[Candidate]) -> str:
    """Return the page: ranked table, energies along the anneal, pictures and CIFs.

    Parameters
    ----------
    formula : str
    candidates : sequence of Candidate
        Best first.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    rows = "".join(_row(rank, one) for rank, one in enumerate(candidates, start=1))
    cards = "".join(_card(rank, one) for rank, one in enumerate(candidates[:_SHOWN], start=1))
    name = escape(formula)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{name}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1><table><thead><tr>"
        "<th>rank</th><th>formula</th><th>Z</th><th>space group</th><th>probability</th>"
        f"<th>energy/atom</th><th>found</th><th>start</th><th>flags</th></tr></thead><tbody>{rows}</tbody></table>"
        "<p>Ranked by the probability of being the right crystal, where the model gives one. The "
        "energy is that of the learned model; lower is more plausible.</p>"
        f"{_image(plot.plot_anneal(candidates), 'energy along the anneal', 'width:36rem')}"
        f"<div>{cards}</div></body></html>"
    )


def _row(rank: int, candidate: Candidate) -> str:
    symbol, number = candidate.spacegroup
    flags = [name for name, on in _flags(candidate) if on]
    cells = (
        (rank, "n"),
        (candidate.formula, ""),
        (candidate.formula_units, "n"),
        (f"{symbol} ({number})" if number else "–", ""),
        ("–" if candidate.probability is None else f"{candidate.probability:.3f}", "n"),
        (f"{candidate.energy_per_atom:.4f}", "n"),
        (candidate.n_found, "n"),
        (f"{candidate.start} {candidate.label}".strip(), ""),
        (", ".join(flags), ""),
    )
    return "<tr>" + "".join(f"<td class='{c}'>{escape(str(v))}</td>" for v, c in cells) + "</tr>"


def _flags(candidate: Candidate) -> tuple[tuple[str, bool], ...]:
    return (("clash", candidate.clash), ("unconverged", not candidate.converged))


def _card(rank: int, candidate: Candidate) -> str:
    title = f"{rank}. {candidate.formula} {candidate.spacegroup[0]}"
    buffer = BytesIO()
    write(buffer, candidate.atoms, format="cif")
    cif = buffer.getvalue().decode()
    picture = _image(plot.plot_crystal(candidate.atoms, title=title), title, "")
    text = f"<details><summary>CIF</summary><pre>{escape(cif)}</pre></details>"
    return f"<section>{picture}{text}</section>"


def _image(figure: Figure, text: str, style: str) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{escape(text)}' style='{style}' src='data:image/png;base64,{data}'>"
