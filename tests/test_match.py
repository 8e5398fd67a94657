"""Matching against direct calls of pymatgen and distances known by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import Match, match, match_many, rms_distance
from ase_continuousp.io import from_atoms
from ase_continuousp.search.symmetry import spacegroup
from tests.strategies import rngs, unimodular
from tests.systems import perovskite, rattled, rutile, supercell, system


def test_displacement_of_one_of_two_atoms_gives_half_of_it() -> None:
    salt = bulk("CsCl", "cesiumchloride", a=4.0)
    moved = salt.copy()
    moved.positions[1, 0] += 0.2
    # Best superposition: each atom is off by 0.1 Å; (V/N)^(1/3) = (64/2)^(1/3) Å.
    expected = 0.1 / np.cbrt(32.0)
    assert rms_distance(from_atoms(moved), from_atoms(salt)) == pytest.approx(expected, rel=1e-3)


@given(rngs(), unimodular())
def test_agrees_with_structure_matcher_as_the_literature_sets_it(
    rng: np.random.Generator, basis: np.ndarray
) -> None:
    truth = [perovskite(), rutile(), bulk("ZnO", "wurtzite", a=3.25, c=5.2)][rng.integers(3)]
    found = rattled(truth, rng.choice([0.02, 0.2, 0.6]), seed=int(rng.integers(1000)))
    found = supercell(found, basis)
    found.set_cell(found.cell.array * rng.uniform(0.9, 1.1), scale_atoms=True)
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    pair = [AseAtomsAdaptor.get_structure(atoms) for atoms in (found, truth)]
    oracle = matcher.get_rms_dist(*pair)
    ours = rms_distance(from_atoms(found), from_atoms(truth))
    assert ours == (None if oracle is None else pytest.approx(oracle[0], abs=1e-9))


def test_swapped_elements_and_other_compositions_do_not_match() -> None:
    swapped = perovskite()
    swapped.numbers[:2] = swapped.numbers[[1, 0]]
    # In a cubic perovskite A and B differ by their distances to X.
    assert rms_distance(from_atoms(swapped), from_atoms(perovskite())) is None
    assert rms_distance(from_atoms(perovskite("Ba")), from_atoms(perovskite())) is None


def test_degenerate_crystals_match_nothing() -> None:
    needle = Crystals.single([[0, 0, 0], [0, 0, 1e-4]], np.diag([1e-3, 1e-3, 1e7]), [11, 17])
    salt = from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    assert match(needle, salt).rms is None


def test_no_crystal_matches_nothing() -> None:
    assert match(None, from_atoms(rutile())) == Match(None, 0, 136)


@pytest.mark.parametrize("rms", [0.199, 0.2, None])
def test_strict_is_below_a_fifth(rms: float | None) -> None:
    assert Match(rms, 1, 1).is_strict == (rms == 0.199)


@pytest.mark.parametrize("name", ["fcc", "hcp", "diamond", "rutile", "wurtzite", "perovskite"])
def test_space_groups_are_those_of_pymatgen(name: str) -> None:
    atoms = rattled(system(name), 0.005)
    oracle = SpacegroupAnalyzer(AseAtomsAdaptor.get_structure(atoms), symprec=0.1)
    expected = (oracle.get_space_group_symbol(), oracle.get_space_group_number())
    assert spacegroup(from_atoms(atoms)) == expected


def test_space_group_of_coincident_atoms_is_none() -> None:
    atoms = system("coincident")
    atoms.numbers[:] = 13
    assert spacegroup(from_atoms(atoms)) == ("", 0)


def test_many_pairs_keep_their_order_on_an_executor() -> None:
    cells: list[Atoms] = [rutile(), perovskite(), bulk("Cu")]
    pairs = [
        (from_atoms(rattled(cells[i % 3], 0.01 * i, seed=i)), from_atoms(cells[i % 3]))
        for i in range(20)
    ]
    here = match_many(pairs)
    with ThreadPoolExecutor(2) as pool:
        assert match_many(pairs, pool) == here
    assert here[0].rms == pytest.approx(0.0, abs=1e-6)
    assert [one.true_spacegroup for one in here[:3]] == [136, 221, 225]
