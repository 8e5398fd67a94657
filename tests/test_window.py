"""The window of energy: what it drops, and that searches and evaluations obey it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.search.predict import predict
from ase_continuousp.search.refine import Refined
from ase_continuousp.search.window import check_window, in_window
from ase_continuousp.starts import StartCrystal

CUBE = Crystals.single([[0, 0, 0], [1.5, 1.5, 1.5]], 3.0 * np.eye(3), [55, 17])


def refined(energy_per_atom: float, noise: float = 1.0) -> Refined:
    start = StartCrystal(crystals=CUBE, kind="random" if noise > 0 else "prototype", noise=noise)
    return Refined(
        CUBE, 2 * energy_per_atom, np.zeros((2, 3)), np.zeros((3, 3)), True, start, np.zeros(1)
    )


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), max_size=8), st.floats(1e-3, 10))
def test_what_stays(found: list[tuple[float, bool]], window: float) -> None:
    given_all = [refined(energy, 1.0 if moved else 0.0) for energy, moved in found]
    kept = in_window(given_all, window)
    assert [one for one in given_all if any(one is other for other in kept)] == kept  # in order
    for one, (energy, moved) in zip(given_all, found, strict=True):
        lowest = min(e for e, _ in found)
        stays = not moved or energy <= lowest + window
        if abs(energy - lowest - window) > 1e-9:
            assert stays == any(one is other for other in kept)
    assert in_window(given_all, None) == given_all


@pytest.mark.parametrize("window", [0.0, -1.0, math.inf, math.nan])
def test_wrong_number(window: float) -> None:
    with pytest.raises(ValueError, match="window must be positive and finite"):
        check_window(window)


@pytest.mark.parametrize("window", ["0.1", True, [0.1]])
def test_wrong_type(window: object) -> None:
    with pytest.raises(TypeError, match="window must be a number"):
        check_window(window)  # type: ignore[arg-type]


def test_search_drops_what_lies_above() -> None:
    options = {"model": "perov5", "n_samples": 8, "formula_units": 1, "start": "random"}
    everything = sorted(one.energy_per_atom for one in predict("SrTiO3", **options))
    assert len(everything) >= 2
    cut = int(np.argmax(np.diff(everything)))  # the widest gap
    window = 0.5 * (everything[cut] + everything[cut + 1]) - everything[0]
    some = sorted(one.energy_per_atom for one in predict("SrTiO3", window=window, **options))
    assert some == pytest.approx(everything[: cut + 1], abs=1e-6)


def test_evaluation_leaves_samples_out() -> None:
    [truth] = [predict("SrTiO3", model="perov5", n_samples=1, start="prototype")[0].atoms]
    options = {"k": 6, "n_steps": 20, "processes": 1, "controls": False}
    [row] = evaluate("perov5", [truth], **options).per_structure
    energies = sorted(one.energy_per_atom for one in row.samples)
    window = 0.5 * (energies[0] + energies[-1]) - energies[0]
    report = evaluate("perov5", [truth], window=window, **options)
    [less] = report.per_structure
    assert {one.energy_per_atom for one in less.samples} == {
        one for one in energies if one <= energies[0] + window
    }
    assert less.n_samples < row.n_samples
    assert less.top1_energy == row.top1_energy
    assert f"window {window:g}" in report.summary()
    assert report.to_dict()["window"] == window


def test_journal_of_another_window_is_refused(tmp_path) -> None:
    [truth] = [predict("SrTiO3", model="perov5", n_samples=1, start="prototype")[0].atoms]
    options = {"n_steps": 2, "processes": 1, "controls": False, "journal": tmp_path / "journal"}
    evaluate("perov5", [truth], **options)
    with pytest.raises(ValueError, match="journal"):
        evaluate("perov5", [truth], window=0.1, **options)
