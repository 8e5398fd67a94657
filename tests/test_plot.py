"""Figures show what they should and disturb no state of matplotlib."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp import Candidate, plot
from tests.systems import perovskite, system

pytest.importorskip("matplotlib")


def candidate(energy: float = -1.0, trace: tuple[float, ...] = (0.0, -0.5, -1.0)) -> Candidate:
    return Candidate(perovskite(), energy, ("Pm-3m", 221), 1, 1, True, False, trace=np.array(trace))


@pytest.mark.parametrize(
    ("atoms", "n_shown"),
    [
        (bulk("Po", "sc", a=3.3), 8),
        (bulk("Cu", cubic=True), 14),
        (perovskite(), 15),
        (system("diamond"), 9),
    ],
)
def test_images_on_the_boundary_are_drawn(atoms, n_shown: int) -> None:
    atoms.positions += 1e-5
    before = atoms.copy()
    shown = plot.whole_cell(atoms)
    assert len(shown) == n_shown
    np.testing.assert_array_equal(atoms.positions, before.positions)
    np.testing.assert_allclose(shown.cell.array, atoms.cell.array)
    fractional = shown.get_scaled_positions(wrap=False)
    assert fractional.min() > -2e-3
    assert fractional.max() < 1 + 2e-3


@pytest.mark.parametrize("name", ["skewed", "left_handed", "coincident", "flat"])
def test_crystals_are_drawn(name: str, tmp_path) -> None:
    figure = plot.plot_crystal(system(name), title="a title")
    assert figure.axes[0].get_title() == "a title"
    assert figure.axes[0].patches
    figure.savefig(tmp_path / "crystal.png")
    assert (tmp_path / "crystal.png").read_bytes().startswith(b"\x89PNG")


def test_anneals_are_drawn_and_what_was_built_is_a_level() -> None:
    built = candidate(-1.2, (-1.2,))
    found = [built, candidate(-0.9, (0.0, -0.9)), *[candidate() for _ in range(9)]]
    [axes] = plot.plot_anneal(found).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert len(lines) == 7  # the first, and the first six that were annealed
    first, second = list(lines.values())[:2]
    np.testing.assert_array_equal(first.get_ydata(), [built.energy_per_atom] * 2)
    assert "as built" in first.get_label()
    np.testing.assert_array_equal(second.get_ydata(), found[1].trace)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "energy per atom")
    assert len(axes.get_legend().get_texts()) == 7


def test_no_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plot.plot_anneal([])


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"ase-continuousp\[report\]"):
        plot.plot_crystal(bulk("Cu"))


def test_pyplot_is_not_touched() -> None:
    import matplotlib

    settings = dict(matplotlib.rcParams)
    plot.plot_crystal(bulk("Cu"))
    assert dict(matplotlib.rcParams) == settings
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
