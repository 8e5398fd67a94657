"""Lattice algebra against geometry written down another way."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from ase.geometry import cell_to_cellpar, cellpar_to_cell
from hypothesis import given
from scipy.linalg import expm

from ase_continuousp import lattice
from tests import strategies

CELLS = np.random.default_rng(0).normal(size=(40, 3, 3)) * 5.0


def test_volume_is_the_unsigned_determinant() -> None:
    np.testing.assert_allclose(lattice.volume(CELLS), np.abs(np.linalg.det(CELLS)), rtol=1e-12)
    swapped = lattice.volume(CELLS[:, [1, 0, 2]])  # left-handed where they were right-handed
    np.testing.assert_allclose(swapped, lattice.volume(CELLS), rtol=1e-12)
    assert lattice.volume(CELLS[0]).shape == ()
    assert lattice.volume([[1, 0, 0], [2, 0, 0], [0, 0, 1]]) == 0.0


def test_heights_are_inverse_lengths_of_reciprocal_vectors() -> None:
    reciprocal = np.linalg.inv(CELLS).swapaxes(-1, -2)
    expected = 1.0 / np.linalg.norm(reciprocal, axis=-1)
    np.testing.assert_allclose(lattice.heights(CELLS), expected, rtol=1e-9)
    np.testing.assert_allclose(lattice.heights(CELLS[3]), expected[3], rtol=1e-9)


def test_heights_of_a_hexagonal_cell() -> None:
    cell = cellpar_to_cell([3.0, 3.0, 5.0, 90, 90, 120])
    np.testing.assert_allclose(lattice.heights(cell), [3 * 0.75**0.5, 3 * 0.75**0.5, 5.0])


@given(rng=strategies.rngs(), n=st.integers(1, 5))
def test_fractional_and_cartesian_are_inverse(rng: np.random.Generator, n: int) -> None:
    cells = rng.normal(size=(n, 3, 3)) + 3.0 * np.eye(3)
    positions = 10.0 * rng.normal(size=(n, 3))
    fractional = lattice.to_fractional(positions, cells)
    np.testing.assert_allclose(lattice.to_cartesian(fractional, cells), positions, atol=1e-7)
    for f, cell, r in zip(fractional, cells, positions, strict=True):
        np.testing.assert_allclose(f @ cell, r, atol=1e-7)  # rows are the cell vectors


def test_one_cell_serves_many_positions() -> None:
    positions = np.random.default_rng(1).normal(size=(7, 3))
    fractional = lattice.to_fractional(positions, CELLS[0])
    np.testing.assert_allclose(fractional @ CELLS[0], positions, atol=1e-12)
    np.testing.assert_allclose(lattice.to_cartesian(fractional, CELLS[0]), positions, atol=1e-12)


@given(strain=strategies.symmetric_strains(amplitude=1.0))
def test_symmetric_exponential(strain: np.ndarray) -> None:
    result = lattice.symmetric_exponential(strain)
    np.testing.assert_allclose(result, expm(strain), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result, result.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        result @ lattice.symmetric_exponential(-strain), np.eye(3), atol=1e-8
    )
    np.testing.assert_allclose(np.linalg.det(result), np.exp(np.trace(strain)), rtol=1e-9)


def test_symmetric_exponential_of_a_batch() -> None:
    raw = np.random.default_rng(2).normal(size=(4, 3, 3))
    strains = raw + raw.swapaxes(1, 2)
    together = lattice.symmetric_exponential(strains)
    for strain, result in zip(strains, together, strict=True):
        np.testing.assert_allclose(lattice.symmetric_exponential(strain), result, rtol=1e-12)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_uniform_strain_scales_the_lengths_alone(factor: float) -> None:
    strain = np.log(factor) * np.eye(3)
    strained = CELLS[0] @ lattice.symmetric_exponential(strain)
    before, after = cell_to_cellpar(CELLS[0]), cell_to_cellpar(strained)
    np.testing.assert_allclose(after[:3], factor * before[:3])
    np.testing.assert_allclose(after[3:], before[3:])
