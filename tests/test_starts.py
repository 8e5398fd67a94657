"""Random and symmetric starts, and the record that all starts return."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.io import from_atoms
from ase_continuousp.search.symmetry import spacegroup
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.random import RandomStart
from ase_continuousp.starts.symmetric import SymmetricStart, spacegroup_number
from tests.systems import perovskite


@pytest.fixture(scope="module")
def priors() -> Priors:
    return Priors.fit(from_atoms([perovskite(), bulk("NaCl", "rocksalt", a=5.64)] * 5), n_steps=50)


def test_random_starts_hold_the_atoms_asked_for(priors: Priors) -> None:
    numbers = [38, 22, 8, 8, 8]
    starts = RandomStart(priors).generate(numbers, 6, np.random.default_rng(0))
    assert len(starts) == 6
    for start in starts:
        assert start.crystals.numbers.tolist() == numbers
        assert (start.kind, start.noise, start.distance) == ("random", 1.0, None)
        start.crystals.validate()


def test_random_coordinates_are_uniform(priors: Priors) -> None:
    starts = RandomStart(priors).generate([11] * 50, 40, np.random.default_rng(0))
    fractional = np.concatenate([start.crystals.fractional for start in starts])
    assert fractional.min() > -1e-9
    assert fractional.max() < 1 + 1e-9
    # 2000 draws: the mean of a uniform law within 4 standard errors, and no hole.
    assert np.abs(fractional.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 2000)
    assert np.histogram(fractional, bins=10, range=(0, 1))[0].min() > 500


def test_same_generator_gives_the_same_starts(priors: Priors) -> None:
    one, two = (RandomStart(priors).generate([11, 17], 3, np.random.default_rng(7)) for _ in "ab")
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.crystals.positions, b.crystals.positions)
        assert np.array_equal(a.crystals.cells, b.crystals.cells)


def test_start_is_one_crystal_at_a_level() -> None:
    two = from_atoms([bulk("Cu"), bulk("Al")])
    with pytest.raises(ValueError, match="crystals must hold one crystal: 2"):
        StartCrystal(two, "random")
    with pytest.raises(ValueError, match=r"noise must lie in \[0, 1\]: 1.5"):
        StartCrystal(two.select([0]), "random", noise=1.5)


@pytest.mark.parametrize(
    ("given", "number"), [(225, 225), ("225", 225), ("Fm-3m", 225), ("P1", 1), ("P6_3/mmc", 194)]
)
def test_space_groups_are_understood(given: int | str, number: int) -> None:
    assert spacegroup_number(given) == number


@pytest.mark.parametrize("given", [0, 231, "-1", "Q4", ""])
def test_unknown_space_groups_are_refused(given: int | str) -> None:
    with pytest.raises(ValueError, match="spacegroup must be"):
        spacegroup_number(given)


def test_missing_pyxtal_is_an_error_that_names_the_extra(
    priors: Priors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ase_continuousp.starts.symmetric.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"ase-continuousp\[search\]"):
        SymmetricStart(priors)


needs_pyxtal = pytest.mark.skipif(
    importlib.util.find_spec("pyxtal") is None, reason="PyXtal is not installed"
)


@needs_pyxtal
def test_symmetric_starts_have_the_symmetry_and_the_volume(priors: Priors) -> None:
    numbers = [22, 8, 8] * 2
    start = SymmetricStart(priors, spacegroup=136)
    made = start.generate(numbers, 2, np.random.default_rng(0))
    assert len(made) == 2
    expected = np.exp(priors.log_volume_per_atom(numbers))
    for one in made:
        assert one.crystals.numbers.tolist() == numbers
        assert one.label == "136"
        # Atoms on special positions may add symmetry, never take it away.
        assert spacegroup(one.crystals, 1e-3)[1] >= 136
        assert one.crystals.volumes[0] / 6 == pytest.approx(expected, rel=1e-6)
    again = start.generate(numbers, 2, np.random.default_rng(0))
    assert np.array_equal(made[1].crystals.positions, again[1].crystals.positions)


@needs_pyxtal
def test_impossible_compositions_give_no_symmetric_start(priors: Priors) -> None:
    start = SymmetricStart(priors, spacegroup=225)
    assert start.generate([11, 17, 8, 9, 3, 3, 3], 1, np.random.default_rng(0)) == []
