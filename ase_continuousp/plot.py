"""Figures of results; no computation happens here. Needs matplotlib (extra ``report``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.visualize.plot import plot_atoms

from ase_continuousp.powder import PowderPattern
from ase_continuousp.sampling.history import RunHistory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ase_continuousp.search.candidates import Candidate

_NAMED_PEAKS = 8
_ON_A_FACE = 0.02  # in fractions of a cell vector: near enough to be drawn on both faces


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
    """Return the energy per atom along the anneals of the first candidates.

    The first three and the first six that were annealed are shown; a prototype, taken as built,
    is a dashed level.

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
    annealed = [c for c in candidates if len(c.trace) > 1]
    length = max((len(c.trace) for c in annealed), default=2)
    shown = {id(c): c for c in [*candidates[:3], *annealed[:6]]}.values()
    others = cycle(f"C{n}" for n in range(10) if n != 3)  # C3 marks the first
    for candidate in shown:
        symbol, number = candidate.spacegroup
        rank = next(r for r, c in enumerate(candidates, start=1) if c is candidate)
        label = f"{rank}  {candidate.formula}  {symbol} ({number})"
        is_best = rank == 1
        trace = candidate.trace
        if len(trace) > 1:
            steps, style = np.arange(len(trace)), "-"
        else:  # taken as built: a level to compare with
            label += ", as built"
            steps, style = np.array([0, length - 1]), "--"
            trace = np.full(2, candidate.energy_per_atom)
        axes.plot(
            steps,
            trace,
            style,
            color="C3" if is_best else next(others),
            linewidth=1.8 if is_best else 0.9,
            label=label,
        )
    axes.set_xlabel("step")
    axes.set_ylabel("energy per atom")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def plot_run(run: RunHistory | str | Path | Sequence[Atoms]) -> Figure:
    """Return energy and volume per atom and the acceptance of an annealed run against its steps.

    Acceptance is the share over the last fiftieth of the run. Of a batch, each crystal is a line.

    Parameters
    ----------
    run : RunHistory, or trajectory of an AnnealedLangevin as a file or its frames

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If frames were not written by an annealed run.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.sampling.history import RunHistory
    >>> column = np.ones((3, 1))
    >>> run = RunHistory(np.arange(3), column, np.array([[0], [1], [1]]), 12.0 * column)
    >>> [axes.get_ylabel() for axes in plot_run(run).axes]
    ['energy per atom', 'acceptance', 'volume per atom / Å³']
    """
    history = run if isinstance(run, RunHistory) else RunHistory.from_trajectory(run)
    rows: list[tuple[str, Any]] = [
        ("energy per atom", history.energy),
        ("acceptance", history.acceptance(n_rows=len(history.step) // 50)),
    ]
    if not np.isnan(history.volume).all():
        rows.append(("volume per atom / Å³", history.volume))
    figure = _figure((6.0, 1.0 + 1.7 * len(rows)))
    panels = figure.subplots(len(rows), 1, sharex=True)
    is_batch = history.energy.shape[1] > 1
    for axes, (label, values) in zip(panels, rows, strict=True):
        axes.plot(history.step, values, linewidth=0.6 if is_batch else 1.0)
        axes.set_ylabel(label)
    panels[1].set_ylim(-0.05, 1.05)
    panels[-1].set_xlabel("step")
    figure.tight_layout()
    return figure


def plot_powder(pattern: PowderPattern, *, title: str = "") -> Figure:
    """Return a powder pattern as measured, with its reflections and the names of the strongest.

    Parameters
    ----------
    pattern : PowderPattern
    title : str

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.powder import powder_pattern
    >>> plot_powder(powder_pattern(bulk("Cu", cubic=True))).axes[0].get_xlabel()
    '2θ / °  (CuKa)'
    """
    figure = _figure((6.0, 3.2))
    axes = figure.add_subplot()
    angles = np.linspace(5.0, 90.0, 1701)
    heights = pattern.profile(angles)
    scale = 100.0 / max(heights.max(initial=0.0), 1e-12)
    axes.plot(angles, scale * heights, color="C0", linewidth=1.0)
    axes.vlines(pattern.two_theta, -6.0, -2.0, color="C3", linewidth=0.6)
    strongest = np.argsort(-pattern.intensity)[:_NAMED_PEAKS]
    for k in strongest:
        x = pattern.two_theta[k]
        height = scale * pattern.profile(np.array([x]))[0]
        axes.annotate(
            pattern.labels[k],
            (x, height),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    axes.set_xlim(5.0, 90.0)
    axes.set_ylim(-8.0, 115.0)
    axes.set_xlabel(f"2θ / °  ({pattern.radiation})")
    axes.set_ylabel("intensity / % of strongest")
    axes.set_title(title)
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
    wrapped.wrap(eps=_ON_A_FACE)
    fractional = wrapped.get_scaled_positions(wrap=False)
    positions, numbers = [], []
    for f, z in zip(fractional, wrapped.numbers, strict=True):
        ends = [(0, 1) if abs(x) < _ON_A_FACE else (0,) for x in f]
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
