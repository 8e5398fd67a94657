"""The batch of crystals: what it derives, how it is cut and joined, what it refuses."""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from ase_continuousp.crystals import Crystals, offsets_of
from tests import strategies, systems


def crystal(name: str) -> Crystals:
    atoms = systems.system(name)
    return Crystals.single(atoms.positions, atoms.cell.array, atoms.numbers)


def assert_equal(one: Crystals, other: Crystals) -> None:
    for field in dataclasses.fields(Crystals):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, err_msg=field.name)


BATCH = Crystals.concatenate([crystal(n) for n in ("fcc", "perovskite", "left_handed", "skewed")])


def test_single_converts_and_copies() -> None:
    positions = np.zeros((1, 3), dtype=np.float32)
    cell = [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    one = Crystals.single(positions, cell, [84])
    positions[:] = 1.0
    assert one.positions.tolist() == [[0.0, 0.0, 0.0]]
    assert (one.positions.dtype, one.cells.dtype) == (np.float64, np.float64)
    assert (one.numbers.dtype, one.offsets.dtype) == (np.int64, np.int64)
    assert (one.n_atoms, one.n_crystals, len(one)) == (1, 1, 1)


def test_counts_and_index_of_a_batch() -> None:
    assert BATCH.counts.tolist() == [1, 5, 5, 3]
    assert BATCH.offsets.tolist() == [0, 1, 6, 11, 14]
    assert BATCH.crystal_index.tolist() == [0] + [1] * 5 + [2] * 5 + [3] * 3
    assert offsets_of([]).tolist() == [0]


def test_volumes_and_lengths() -> None:
    expected = [systems.system(n).get_volume() for n in ("fcc", "perovskite", "left_handed")]
    np.testing.assert_allclose(BATCH.volumes[:3], np.abs(expected), rtol=1e-12)
    np.testing.assert_allclose(BATCH.lengths**3 * BATCH.counts, BATCH.volumes, rtol=1e-12)


@given(batch=strategies.crystals())
def test_a_batch_is_its_crystals(batch: Crystals) -> None:
    assert_equal(Crystals.concatenate(list(batch)), batch)
    assert_equal(batch.select(np.arange(batch.n_crystals)), batch)
    backward = list(range(batch.n_crystals))[::-1]
    assert_equal(batch.select(backward).select(backward), batch)
    for b, one in enumerate(batch):
        atoms = slice(batch.offsets[b], batch.offsets[b + 1])
        np.testing.assert_array_equal(one.positions, batch.positions[atoms])
        np.testing.assert_array_equal(one.numbers, batch.numbers[atoms])


def test_select_takes_masks_repeats_and_nothing() -> None:
    assert BATCH.select([True, False, False, True]).counts.tolist() == [1, 3]
    assert BATCH.select([3, 3, 0]).counts.tolist() == [3, 3, 1]
    assert BATCH.select(1).counts.tolist() == [5]
    nothing = BATCH.select(np.zeros(4, dtype=bool))
    assert (nothing.n_crystals, nothing.n_atoms) == (0, 0)


@given(batch=strategies.crystals())
def test_fractional_coordinates_are_those_of_ase(batch: Crystals) -> None:
    for one, f in zip(batch, np.split(batch.fractional, batch.offsets[1:-1]), strict=True):
        np.testing.assert_allclose(f @ one.cells[0], one.positions, atol=1e-9)
    same = batch.with_fractional(batch.fractional)
    np.testing.assert_allclose(same.positions, batch.positions, atol=1e-9)
    strained = batch.with_fractional(batch.fractional, 1.1 * batch.cells)
    np.testing.assert_allclose(strained.positions, 1.1 * batch.positions, atol=1e-9)
    np.testing.assert_allclose(strained.fractional, batch.fractional, atol=1e-9)


@given(batch=strategies.crystals(), rng=strategies.rngs())
def test_wrapping_moves_atoms_by_lattice_vectors(batch: Crystals, rng: np.random.Generator) -> None:
    shifts = rng.integers(-3, 4, size=(batch.n_atoms, 3))
    wrapped = batch.with_fractional(batch.fractional + shifts).wrapped()
    fractional = wrapped.fractional
    assert np.all((fractional > -1e-9) & (fractional < 1.0 + 1e-9))
    moved = fractional - batch.fractional
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-9)


def test_wrapping_tiny_negative_coordinates() -> None:
    """floor(-1e-17) + 1 is exactly 1: the atom belongs to the origin."""
    wrapped = Crystals.single([[-1e-17, 0, 0]], np.eye(3), [1]).wrapped()
    assert wrapped.positions.tolist() == [[0.0, 0.0, 0.0]]


@given(batch=strategies.crystals(), data=st.data())
def test_where_takes_whole_crystals(batch: Crystals, data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
    other = batch.with_fractional(batch.fractional + 0.25, 1.5 * batch.cells)
    mixed = batch.where(mask, other)
    for kept, one, first, second in zip(mask, mixed, batch, other, strict=True):
        assert_equal(one, first if kept else second)


@pytest.mark.parametrize(
    ("positions", "cell", "numbers", "message"),
    [
        ([[0, 0, 0]], np.eye(3), [1, 1], r"one row of 3 per atom: 2 numbers"),
        (np.zeros((0, 3)), np.eye(3), [], r"at least one atom"),
        ([[0, np.nan, 0]], np.eye(3), [1], r"positions must be finite: found nan"),
        ([[0, 0, 0]], np.full((3, 3), np.inf), [1], r"cell must be finite: found inf"),
        ([[0, 0, 0]], np.diag([1, 1, 0]), [1], r"volume > 0\): \[\[1\.0, 0\.0, 0\.0\]"),
        ([[0, 0, 0]], [[1, 0, 0], [2, 0, 0], [0, 0, 1]], [1], r"three independent vectors"),
    ],
)
def test_impossible_crystals_are_refused(
    positions: object, cell: object, numbers: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Crystals.single(positions, cell, numbers)
