"""Prototypes of lone crystals: means with what their relatives relax to."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.io import from_atoms
from ase_continuousp.starts.averaging import FARTHEST
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.fitting import tabulated_vectors
from ase_continuousp.starts.from_files import hull_energies, library_from_files
from ase_continuousp.starts.grouping import anonymous_of
from ase_continuousp.starts.relaxing import relaxed_means
from ase_continuousp.starts.substitution import Substitution, similar

RULE = Substitution.untrained(tabulated_vectors())


class Springs:
    """Atoms on springs to sites at given fractions of the cell, which does not resist."""

    def __init__(self, fractional: np.ndarray, strength: float = 2.0) -> None:
        self.fractional, self.strength = fractional, strength
        self.asked: list[Crystals] = []

    def __call__(self, crystals: Crystals) -> Evaluation:
        self.asked.append(crystals)
        sites = np.tile(self.fractional, (len(crystals), 1))
        moved = crystals.with_fractional(sites).positions - crystals.positions
        energies = 0.5 * self.strength * np.sum(moved**2, axis=1)
        return Evaluation(
            np.add.reduceat(energies, crystals.offsets[:-1]),
            energies,
            self.strength * moved,
            np.zeros((len(crystals), 3, 3)),
        )


def wurtzite(elements: str, u: float) -> Crystals:
    return from_atoms(bulk(elements, "wurtzite", a=3.2, c=5.2, u=u))


def height(_cell: np.ndarray, fractional: np.ndarray, labels: np.ndarray) -> float:
    """Return u: the layers of the two elements are 1/2 - u apart."""
    gaps = np.subtract.outer(fractional[labels == 0, 2], fractional[labels == 1, 2])
    return float(0.5 - np.min(np.abs(gaps - np.rint(gaps))))


SALTS = [from_atoms(bulk(f, "rocksalt", a=a)) for f, a in [("CdS", 5.5), ("MgO", 4.2)]]


def test_a_lone_crystal_is_averaged_with_what_a_relative_relaxes_to():
    crystals = Crystals.concatenate([wurtzite("ZnO", 0.376), *SALTS])
    springs = Springs(wurtzite("ZnO", 0.396).fractional)
    library = build_library(crystals, n_fit=0, tolerances=[0.05, 0.4], energy=springs)
    [lone] = np.flatnonzero(library.spacegroups == 186).tolist()
    assert height(*library.structure(lone)) == pytest.approx(0.386, abs=1e-3)
    assert library.members(lone)[0].tolist() == [[8, 30]]  # who was seen, not who was relaxed
    [pair] = np.flatnonzero(library.spacegroups == 225).tolist()
    assert library.n_members[pair] == 2  # what has a like needs no relative


def test_only_relatives_are_relaxed_never_the_crystal_itself():
    crystals = Crystals.concatenate([wurtzite("ZnO", 0.376), *SALTS])
    springs = Springs(wurtzite("ZnO", 0.376).fractional)
    anonymous, prints = anonymous_of(crystals)
    known = set(crystals.numbers.tolist())
    [(b, mean)] = relaxed_means(crystals, anonymous, prints, [0], RULE, springs, known)
    assert b == 0
    assert len(mean.used) == 2
    numbers = springs.asked[0].numbers.reshape(-1, 4)
    assert all(sorted(set(row)) != [8, 30] for row in numbers.tolist())
    assert set(numbers.ravel().tolist()) <= known


def test_relatives_that_become_something_else_do_not_count():
    crystals = Crystals.concatenate([wurtzite("ZnO", 0.376), *SALTS])
    springs = Springs(np.random.default_rng(0).random((4, 3)))
    anonymous, prints = anonymous_of(crystals)
    known = np.unique(crystals.numbers).tolist()
    assert not list(relaxed_means(crystals, anonymous, prints, [0], RULE, springs, known))
    assert FARTHEST < 0.5


def test_the_most_similar_elements_come_first():
    [salt] = anonymous_of(from_atoms(bulk("NaCl", "rocksalt", a=5.6)))[0]
    first = similar(salt.elements, salt.labels, RULE, [3, 11, 17, 19, 35, 79], 3)
    replaced = [sorted(set(row.tolist()) - {11, 17}) for row in first]
    assert [79] not in replaced
    assert all(len(one) == 1 for one in replaced)
    assert similar(salt.elements, salt.labels, RULE, [11, 17], 2) == []


def test_hull_energies_come_from_the_table(tmp_path):
    path = tmp_path / "some.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["cif", "e_above_hull", "formation_energy_per_atom"])
        writer.writerows([["", "0.01", "-3.0"], ["", "", ""], ["", "0.0", "0.04"]])
    crystals = Crystals.concatenate([*SALTS, from_atoms(bulk("Si"))])
    np.testing.assert_array_equal(hull_energies(path, crystals), [0.01, np.nan, 0.04])
    some = hull_energies(path, crystals.select([0, 2]), np.array([0, 2]))
    np.testing.assert_array_equal(some, [0.01, 0.04])
    plain = tmp_path / "some.extxyz"
    assert np.isnan(hull_energies(plain, crystals)).all()


def test_members_beside_are_marked(tmp_path):
    for name, formula in (("data", "NaCl"), ("other", "KBr")):
        bulk(formula, "rocksalt", a=6.0).write(tmp_path / f"{name}.extxyz")
    library = library_from_files([tmp_path / "data.extxyz"], beside=[tmp_path / "other.extxyz"])
    elements, side = library.members(0)
    marked = dict(zip(map(tuple, elements.tolist()), side.tolist(), strict=True))
    assert marked == {(11, 17): False, (19, 35): True}
    assert library.energies is None
