"""Niggli reduction: the published example, spglib, and what a reduction must not change."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import spglib
from ase.geometry import cellpar_to_cell
from hypothesis import given

from ase_continuousp import niggli
from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import search
from tests import strategies, systems

Array = np.ndarray


def cell_of(parameters: list[float]) -> Array:
    """A cell with (A, B, C, ξ, η, ζ)."""
    a, b, c, xi, eta, zeta = parameters
    metric = np.array([[a, zeta / 2, eta / 2], [zeta / 2, b, xi / 2], [eta / 2, xi / 2, c]])
    return np.linalg.cholesky(metric)


def determinants(transforms: Array) -> Array:
    """Exact determinants of integer matrices."""
    a, b, c = np.moveaxis(transforms, 1, 0)
    return np.einsum("bx,bx->b", a, np.cross(b, c))


def test_worked_example_of_krivy_and_gruber() -> None:
    """Acta Cryst. A32, 297 (1976), page 298."""
    reduced, _ = niggli.reduce([cell_of([9, 27, 4, -5, -4, -22])])
    np.testing.assert_allclose(niggli.parameters(reduced)[0], [4, 9, 9, 9, 3, 4], atol=1e-12)


def test_random_cells_agree_with_spglib() -> None:
    cells = np.random.default_rng(0).normal(size=(400, 3, 3)) * 4.0
    reduced, transforms = niggli.reduce(cells)
    theirs = np.array([spglib.niggli_reduce(cell, eps=1e-8) for cell in cells])
    np.testing.assert_allclose(
        niggli.parameters(reduced), niggli.parameters(theirs), rtol=1e-9, atol=1e-9
    )
    assert np.all(niggli.is_reduced(reduced))
    assert np.all(determinants(transforms) == 1)


@pytest.mark.parametrize(
    "base",
    [
        np.eye(3),
        [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
        [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
        cellpar_to_cell([1, 1, 1.6, 90, 90, 120]),
        cellpar_to_cell([1, 1, 1, 55, 55, 55]),
        cellpar_to_cell([1, 1, 1, 105, 105, 105]),
        cellpar_to_cell([1, 1, 2, 90, 90, 90]),
        cellpar_to_cell([1, 1.3, 2, 90, 100, 90]),
    ],
    ids=["sc", "fcc", "bcc", "hexagonal", "acute", "obtuse", "tetragonal", "monoclinic"],
)
def test_every_basis_of_a_symmetric_lattice_leads_to_one_metric(base: object) -> None:
    """Equal lengths and right angles: the special conditions decide, within the tolerance."""
    rng = np.random.default_rng(3)
    bases = [np.eye(3, dtype=int)]
    while len(bases) < 60:
        shear = np.eye(3, dtype=int)
        a, b = rng.choice(3, size=2, replace=False)
        shear[a, b] = rng.integers(-2, 3)
        bases.append(shear @ bases[-1] if len(bases) % 6 else np.eye(3, dtype=int)[[1, 0, 2]])
    reduced, _ = niggli.reduce(np.array(bases) @ (3.7 * np.array(base)))
    assert np.all(niggli.is_reduced(reduced))
    values = niggli.parameters(reduced)
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), atol=1e-6)
    theirs = niggli.parameters([spglib.niggli_reduce(3.7 * np.array(base))])
    np.testing.assert_allclose(values[:1], theirs, atol=1e-6)


@given(atoms=strategies.atoms(max_atoms=1), basis=strategies.unimodular(steps=8, largest=4))
def test_reduction_of_any_basis(atoms: object, basis: Array) -> None:
    cell = atoms.cell.array  # type: ignore[attr-defined]
    (plain, skewed), transforms = niggli.reduce([cell, basis @ cell])
    np.testing.assert_allclose(
        niggli.parameters([plain]), niggli.parameters([skewed]), rtol=1e-6, atol=1e-6
    )
    assert np.all(determinants(transforms) == 1)
    np.testing.assert_allclose(np.linalg.det(plain), np.linalg.det(cell), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.det(skewed), np.linalg.det(basis @ cell), rtol=1e-6)


@given(rng=strategies.rngs(), scale=st.floats(0.01, 100.0))
def test_reduced_cells_stay_and_have_the_same_lattice(
    rng: np.random.Generator, scale: float
) -> None:
    cells = scale * rng.normal(size=(5, 3, 3))
    reduced, transforms = niggli.reduce(cells)
    np.testing.assert_allclose(reduced, transforms @ cells, rtol=1e-12, atol=1e-12 * scale)
    assert np.all(niggli.is_reduced(reduced))
    again, nothing = niggli.reduce(reduced)
    np.testing.assert_array_equal(nothing, np.broadcast_to(np.eye(3), nothing.shape))
    np.testing.assert_array_equal(again, reduced)


@pytest.mark.parametrize("sign", [1, -1])
def test_handedness_is_kept(sign: int) -> None:
    cells = np.random.default_rng(1).normal(size=(50, 3, 3))
    cells[np.linalg.det(cells) * sign < 0] *= -1
    reduced, _ = niggli.reduce(cells)
    assert np.all(sign * np.linalg.det(reduced) > 0)


def test_flat_needle_and_sheared_cells() -> None:
    cells = np.array(
        [
            [[1e-3, 0, 0], [0.31, 10, 0], [0.17, 3, 11]],
            [[1000, 0, 0], [300, 0.5, 0], [12, 0.1, 0.6]],
            [[1, 0, 0], [12345.3, 1, 0], [777.7, -4321.1, 1]],
        ]
    )
    reduced, transforms = niggli.reduce(cells)
    assert np.all(niggli.is_reduced(reduced, tolerance=1e-5))
    assert np.all(determinants(transforms) == 1)
    assert np.abs(reduced[2]).max() < 2.0


def test_a_batch_equals_its_cells() -> None:
    cells = np.random.default_rng(2).normal(size=(20, 3, 3))
    together, transforms = niggli.reduce(cells)
    for k, cell in enumerate(cells):
        alone, transform = niggli.reduce([cell])
        np.testing.assert_array_equal(alone[0], together[k])
        np.testing.assert_array_equal(transform[0], transforms[k])
    assert niggli.reduce(np.zeros((0, 3, 3)))[0].shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([4, 9, 9, 9, 3, 4], True),
        ([4, 9, 16, -1, -1, -1], True),
        ([9, 4, 16, -1, -1, -1], False),  # A > B
        ([4, 9, 16, -1, 1, -1], False),  # mixed signs
        ([4, 9, 16, -8.9, -3.9, -3.9], False),  # sum of all is negative
        ([4, 4, 16, 3, 1, 2], False),  # A = B and |ξ| > |η|
        ([4, 9, 9, 1, 3, 2], False),  # B = C and |η| > |ζ|
        ([4, 9, 16, 1, 4, 3], False),  # η = A and ζ > 2ξ
        ([4, 9, 16, -9, -1, -1], False),  # ξ = -B and ζ < 0
    ],
)
def test_conditions_of_a_reduced_cell(parameters: list[float], expected: bool) -> None:
    assert niggli.is_reduced([cell_of(parameters)]).tolist() == [expected]


def test_crystals_stay_where_they_are() -> None:
    names = ("obscure_basis", "skewed", "left_handed", "outside_cell", "perovskite_rattled")
    batch = Crystals.concatenate(
        [Crystals.single(a.positions, a.cell.array, a.numbers) for a in map(systems.system, names)]
    )
    reduced = niggli.reduce_crystals(batch)
    assert np.all(niggli.is_reduced(reduced.cells))
    assert np.all((reduced.fractional > -1e-9) & (reduced.fractional < 1 + 1e-9))
    np.testing.assert_array_equal(reduced.numbers, batch.numbers)
    for cells in (batch.cells, reduced.cells):  # atoms moved by vectors of either lattice
        moved = np.einsum(
            "ax,axy->ay",
            reduced.positions - batch.positions,
            np.linalg.inv(cells)[batch.crystal_index],
        )
        np.testing.assert_allclose(moved, np.round(moved), atol=1e-9)
    cutoffs = 1.5 * batch.lengths
    np.testing.assert_array_equal(search(reduced, cutoffs).counts, search(batch, cutoffs).counts)


def test_bad_cells_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(n_crystals, 3, 3\): \(3, 3\)"):
        niggli.reduce(np.eye(3))
    with pytest.raises(ValueError, match="cells must be finite: found nan"):
        niggli.reduce([np.eye(3) * np.nan])
    with pytest.raises(ValueError, match="three independent vectors"):
        niggli.reduce([np.eye(3), np.zeros((3, 3))])
