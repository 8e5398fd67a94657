"""Figures of results; no computation happens here. Needs matplotlib (extra ``report``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.visualize.plot import plot_atoms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ase_continuousp.search.candidates import Candidate


def plot_crystal(atoms: Atoms, *, title: str = "") -> Figure:
    """Return a picture of a crystal seen at a slant, with its cell.

    Parameters
    ----------
    atoms : Atoms
    title : str

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from ase.build import bulk
    >>> plot_crystal(bulk("Cu", cubic=True), title="fcc").axes[0].get_title()
    'fcc'
    """
    figure = _figure((4.5, 4.5))
    axes = figure.add_subplot()
    shown = whole_cell(atoms)
    plot_atoms(shown, axes, rotation="-75x,-15y,3z", radii=0.45, show_unit_cell=2)
    axes.set_title(title)
    axes.set_axis_off()
    figure.tight_layout()
    return figure


def plot_anneal(candidates: Sequence[Candidate]) -> Figure:
    """Return the energy per atom of candidates along their anneals, best on top.

    Parameters
    ----------
    candidates : sequence of Candidate

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no candidate.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from ase_continuousp import Candidate
    >>> one = Candidate(
    ...     bulk("Cu"), -1.0, ("Fm-3m", 225), 1, 1, True, False, trace=np.array([0.0, -1.0])
    ... )
    >>> plot_anneal([one]).axes[0].get_ylabel()
    'energy per atom'
    """
    if not candidates:
        raise ValueError("candidates must hold at least one: got none")
    figure = _figure((6.0, 4.0))
    axes = figure.add_subplot()
    for rank, candidate in reversed(list(enumerate(candidates[:8], start=1))):
        symbol, number = candidate.spacegroup
        label = f"{rank}  {candidate.formula}  {symbol} ({number})"
        is_best = rank == 1
        axes.plot(
            np.arange(len(candidate.trace)),
            candidate.trace,
            color="C3" if is_best else "0.7",
            linewidth=1.8 if is_best else 0.9,
            label=label if rank <= 3 else None,
        )
    axes.set_xlabel("step")
    axes.set_ylabel("energy per atom")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def whole_cell(atoms: Atoms) -> Atoms:
    """Return the crystal with the images of atoms that lie on faces, edges and corners.

    Examples
    --------
    >>> from ase.build import bulk
    >>> len(whole_cell(bulk("Po", "sc", a=3.3)))
    8
    """
    wrapped = atoms.copy()
    wrapped.calc = None
    wrapped.wrap(eps=1e-3)
    fractional = wrapped.get_scaled_positions(wrap=False)
    positions, numbers = [], []
    for f, z in zip(fractional, wrapped.numbers, strict=True):
        ends = [(0, 1) if abs(x) < 1e-3 else (0,) for x in f]
        for shift in product(*ends):
            positions.append(f + shift)
            numbers.append(z)
    return Atoms(numbers, scaled_positions=positions, cell=wrapped.cell, pbc=False)


def check_matplotlib() -> None:
    """Raise unless matplotlib is installed; callers ask before long work.

    Raises
    ------
    ImportError
        Names the extra that brings it.

    Examples
    --------
    >>> check_matplotlib()
    """
    if find_spec("matplotlib") is None:
        raise ImportError("pictures need matplotlib: pip install 'ase-continuousp[report]'")


def _figure(size: tuple[float, float]) -> Figure:
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150)
    FigureCanvasAgg(figure)  # draws without a screen and without touching pyplot's state
    return figure
