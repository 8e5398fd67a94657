"""Powder patterns against Bragg's law and the extinctions of textbooks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.plot import plot_powder
from ase_continuousp.powder import PowderPattern, powder_pattern
from tests.systems import perovskite

CU_KA = 1.54184  # Å, the weighted mean of the doublet


def angles(a: float, allowed) -> list[float]:
    """Return 2θ of a cubic crystal from Bragg's law, for each sum of squares once."""
    squares = {
        h * h + k * k + m * m
        for h, k, m in product(range(8), repeat=3)
        if (h or k or m) and allowed(h, k, m)
    }
    sines = np.sqrt(sorted(squares)) * CU_KA / (2 * a)
    found = 2 * np.degrees(np.arcsin(sines[sines < 1]))
    return [x for x in found if 5 <= x <= 90]


@pytest.mark.parametrize(
    ("atoms", "a", "allowed"),
    [
        (bulk("Cu", "fcc", a=3.6), 3.6, lambda h, k, m: h % 2 == k % 2 == m % 2),
        (bulk("Fe", "bcc", a=2.87), 2.87, lambda h, k, m: (h + k + m) % 2 == 0),
        (bulk("Po", "sc", a=3.35), 3.35, lambda h, k, m: True),  # noqa: ARG005
        (perovskite(), perovskite().cell.lengths()[0], lambda h, k, m: True),  # noqa: ARG005
    ],
)
def test_reflections_lie_where_bragg_puts_them(atoms, a: float, allowed) -> None:
    pattern = powder_pattern(atoms)
    np.testing.assert_allclose(pattern.two_theta, angles(a, allowed), atol=2e-3)
    assert pattern.intensity.max() == pytest.approx(100)
    assert len(pattern.labels) == len(pattern.two_theta)


def test_another_cell_of_the_crystal_has_the_same_pattern() -> None:
    one = powder_pattern(bulk("NaCl", "rocksalt", a=5.64))
    other = powder_pattern(bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((1, 1, 2)))
    grid = np.linspace(5, 90, 3000)
    np.testing.assert_allclose(one.profile(grid), other.profile(grid), rtol=1e-6, atol=1e-3)


def test_profile_has_its_width_and_height() -> None:
    pattern = PowderPattern(np.array([40.0]), np.array([100.0]), ("110",), "CuKa")
    heights = pattern.profile(np.array([40.0, 39.9, 40.1]), width=0.2)
    np.testing.assert_allclose(heights, [100, 50, 50])


def test_unknown_radiation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"radiation must be one of CuKa.*'X'"):
        powder_pattern(bulk("Cu"), radiation="X")


def test_figure_names_the_strongest() -> None:
    pytest.importorskip("matplotlib")
    [axes] = plot_powder(powder_pattern(bulk("Cu", cubic=True)), title="copper").axes
    assert next(text.get_text() for text in axes.texts) == "111"
    assert axes.get_title() == "copper"
    x, y = axes.lines[0].get_data()
    assert y.max() == pytest.approx(100)
    assert x[y.argmax()] == pytest.approx(powder_pattern(bulk("Cu")).two_theta[0], abs=0.05)
