"""Candidates to the text of a page: style, data, pictures and the viewer in one file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

import ase_continuousp
from ase_continuousp import plot
from ase_continuousp.io.cif import cif_text
from ase_continuousp.neighborlist import neighbor_list
from ase_continuousp.page.columns import group, number, table
from ase_continuousp.page.scene import bond_lengths, elements, scene
from ase_continuousp.powder import powder_pattern

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

    from ase_continuousp.search.candidates import Candidate

_DALTON_PER_CUBIC_ANGSTROM = 1.66053907  # g/cm³


def render(
    formula: str, candidates: Sequence[Candidate], *, model: str = "", progress: bool = False
) -> str:
    """Return a page with the ranked table, 3-D crystals, powder patterns and the anneals.

    One file of about 0.6 MB and 5 kB a candidate. It holds the viewer 3Dmol.js once, and a
    policy by which the browser refuses any request and any script but the two of the page.
    Everything that may come from a file or from the user is escaped.

    Parameters
    ----------
    formula : str
        The heading.
    candidates : sequence of Candidate
        Best first.
    model : str
        Named below the heading.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no candidate.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import Candidate
    >>> page = render("Cu", [Candidate(bulk("Cu"), -1.0, ("Fm-3m", 225), 1, 1, True, False)])
    >>> "<h1>Cu</h1>" in page
    True
    """
    if not candidates:
        raise ValueError("candidates must hold at least one: got none")
    images = [one.atoms for one in candidates]
    tracked = tqdm(candidates, desc="drawing", unit="crystal", disable=not progress)
    data = {
        "elements": elements(images),
        "bonds": bond_lengths(images),
        "candidates": [_facts(rank, one) for rank, one in enumerate(tracked, start=1)],
    }
    scripts = [_asset("3Dmol-min.js"), _asset("page.js")]
    body = _asset("page.html").format(
        title=escape(formula),
        subtitle=escape(_subtitle(candidates, model)),
        table=table(candidates),
        anneal=_picture(plot.plot_anneal(candidates), "Energy per atom along the anneals"),
        version=escape(ase_continuousp.__version__),
        data=_inert(json.dumps(data)),
    )
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(formula)}</title><style>{_asset('page.css')}</style></head>\n<body>{body}"
        + "".join(f"<script>{script}</script>" for script in scripts)
        + "</body></html>"
    )


def _facts(rank: int, one: Candidate) -> dict[str, Any]:
    """Return what the page says of the candidate that is looked at."""
    title = f"{rank}. {one.formula} {group(one)}".strip()
    return {
        "title": title,
        "facts": [*_geometry(one.atoms), *_history(one)],
        "scene": scene(one.atoms),
        "cif": cif_text(one.atoms),
        "file": f"{rank}-{one.formula}.cif",
        "powder": _powder(one.atoms),
    }


def _powder(atoms: Atoms) -> dict[str, Any]:
    pattern = powder_pattern(atoms)
    return {
        "two_theta": pattern.two_theta.round(3).tolist(),
        "intensity": pattern.intensity.round(2).tolist(),
        "labels": pattern.labels,
        "radiation": pattern.radiation,
    }


def _geometry(atoms: Atoms) -> list[tuple[str, str]]:
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
    volume = atoms.get_volume()
    density = atoms.get_masses().sum() / volume * _DALTON_PER_CUBIC_ANGSTROM
    return [
        ("a, b, c / Å", f"{a:.3f}, {b:.3f}, {c:.3f}"),
        ("α, β, γ / °", f"{alpha:.2f}, {beta:.2f}, {gamma:.2f}"),
        ("Atoms in the cell", str(len(atoms))),
        ("Volume of the cell / Å³", f"{volume:.2f}"),
        ("Density / g cm⁻³", f"{density:.3f}"),
        ("Shortest distance / Å", f"{_shortest(atoms):.3f}"),
    ]


def _history(one: Candidate) -> list[tuple[str, str]]:
    said = "" if one.probability is None else f"{one.probability:.3f}"
    rows = [
        ("Space group", group(one)),
        ("Probability", said),
        ("Energy per atom", number(one.energy_per_atom, 4)),
        ("Start", f"{one.start} {one.label}".strip()),
        ("Flags", ", ".join(one.flags)),
    ]
    return [(name, text) for name, text in rows if text]


def _shortest(atoms: Atoms) -> float:
    # An atom has an image of itself one cell vector away at the latest.
    reach = float(min(atoms.cell.lengths())) + 1e-6
    return float(np.min(neighbor_list("d", atoms, reach)))


def _subtitle(candidates: Sequence[Candidate], model: str) -> str:
    count = len(candidates)
    said = f"{count} candidate{'s' if count > 1 else ''}, best first"
    return f"{said}; model {model}" if model else said


def _policy(scripts: Iterable[str]) -> str:
    """Return a policy that allows these scripts and pictures inside the page, nothing else."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    # Line ends are those of the file: the hash of a script depends on them.
    text = files("ase_continuousp.page").joinpath("assets", name).read_bytes()
    return text.decode("utf-8").replace("\r\n", "\n")


def _inert(text: str) -> str:
    """Return JSON in which nothing can end the script element that holds it."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _picture(figure: Figure, text: str) -> str:
    return f"<img alt='{escape(text)}' src='{_data_uri(figure)}'>"


def _data_uri(figure: Figure) -> str:
    """Return a figure as SVG; a picture in an img element runs no script, whatever it says."""
    import matplotlib

    buffer = BytesIO()
    # Text stays text, and the same figure is the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
