"""What a prototype is said to be made from, against the library itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.leaving_out import members_without
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.origin import Kin, count_known
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.prototype import PrototypeStart

SALTS = ["LiF", "LiCl", "NaF", "NaCl", "KBr", "KCl"]
CHLORIDES = ["CsCl", "RbCl", "CsBr", "RbBr"]
BOTH = "NaCl"  # known in either structure


@pytest.fixture(scope="module")
def known():
    atoms = [bulk(f, "rocksalt", a=5.5) for f in SALTS]
    atoms += [bulk(f, "cesiumchloride", a=4.0) for f in [*CHLORIDES, BOTH]]
    return from_atoms(atoms)


@pytest.fixture(scope="module")
def library(known):
    return build_library(known, n_fit=0)


@pytest.fixture(scope="module")
def start(library, known):
    return PrototypeStart(library, Priors.fit(known, n_steps=50), noise=0.0)


def made_for(start, formula, **options):
    numbers = bulk(formula, "rocksalt", a=5.0).numbers
    return {
        one.origin.spacegroup: one
        for one in start.generate_like(numbers, 4, unseen=False, **options)
    }


def test_an_origin_counts_members_and_known_polymorphs(start):
    made = made_for(start, BOTH)
    assert set(made) == {225, 221}
    assert {g: one.origin.n_members for g, one in made.items()} == {225: 6, 221: 5}
    for one in made.values():
        assert one.origin.n_known == 2
        assert one.origin.n_known_elsewhere == 0
        assert one.origin.nearest[0] == pytest.approx(0.0, abs=1e-9)  # the very elements
        assert one.origin.other < -1e-6
        assert one.origin.repeats == 1


def test_weights_are_those_of_the_rule_and_together_their_sum(start, library):
    made = made_for(start, "KF")
    rule = library.substitution
    for p in range(library.n_prototypes):
        origin = made[int(library.spacegroups[p])].origin
        rows, side = library.members(p)
        targets = np.array([[9, 19], [19, 9]])
        own = rule.log_weights(targets[:1], targets[:1], [0.5, 0.5], True)
        weights = (rule.log_weights(targets, rows, [0.5, 0.5], True, side) - own) / rule.sharpness
        best = np.maximum(weights[np.argmax(weights.max(axis=1))], -60.0)  # as far as it goes
        assert origin.nearest == pytest.approx(tuple(np.sort(best)[::-1][:3]))
        assert origin.together == pytest.approx(np.logaddexp.reduce(best))
        assert origin.other == pytest.approx(best.max())
        assert origin.n_known == 0


def test_a_parent_is_the_prototype_with_the_nearest_other_elements(start):
    one = made_for(start, BOTH)[225]
    parent = one.origin.parent
    assert parent.n_atoms == one.crystals.n_atoms
    pairs = {tuple(sorted(bulk(f, "rocksalt", a=5).numbers)) for f in SALTS if f != BOTH}
    assert tuple(sorted(parent.numbers)) in pairs
    expected = 2 * math.exp(start.priors.log_volume_per_atom(parent.numbers))
    assert parent.volumes[0] == pytest.approx(expected)
    np.testing.assert_allclose(parent.fractional % 1.0, one.crystals.fractional % 1.0, atol=1e-9)


def test_supercells_are_told(start):
    doubled = np.tile(bulk("KF", "rocksalt", a=5.0).numbers, 2)
    for one in start.generate_like(doubled, 4, unseen=False):
        assert one.crystals.n_atoms == 4
        assert one.origin.repeats == 2


def test_left_out_is_the_crystal_itself_and_no_polymorph(start, library, known):
    rock_salt, chloride = known.select([SALTS.index(BOTH)]), known.select([len(known) - 1])
    for truth, group in ((rock_salt, 225), (chloride, 221)):
        staying = members_without(library, truth)
        [(p, stays)] = staying.items()
        assert library.spacegroups[p] == group
        gone = library.members(p)[0][~stays]
        assert np.sort(gone, axis=1).tolist() == [sorted(truth.numbers.tolist())]
        made = made_for(start, BOTH, staying=staying)
        assert all(one.origin.n_known == 1 for one in made.values())
        assert made[group].origin.nearest[0] < -1e-6
        assert made[446 - group].origin.nearest[0] == pytest.approx(0.0, abs=1e-9)


def test_what_is_like_no_member_leaves_nothing_out(library):
    far = bulk(BOTH, "zincblende", a=5.5)
    assert members_without(library, from_atoms(far)) == {}
    assert members_without(library, from_atoms(bulk("MgO", "rocksalt", a=4.2))) == {}
    assert members_without(library, from_atoms(bulk("Cu"))) == {}


def test_members_beside_go_with_their_composition(known):
    side = np.arange(len(known)) == len(known) - 1
    library = build_library(known, side=side, n_fit=0)
    staying = members_without(library, known.select([SALTS.index(BOTH)]))
    assert sum(int((~stays).sum()) for stays in staying.values()) == 2


def test_amounts_are_part_of_a_composition():
    rows = np.array([[11, 17], [17, 11]])
    nothing = np.zeros(2, dtype=bool)
    assert count_known(rows, nothing, [[11, 17]]) == 1  # one of two and one of one
    assert count_known(rows, ~nothing, [[11, 17], [17, 11]]) == 0


def test_energies_and_sides_are_averaged_by_weight():
    kin = Kin(
        np.array([[1, 2], [3, 4], [5, 6]]),
        np.array([-1.0, 0.0, -2.0]),
        np.array([4, 255, 1], dtype=np.uint8),
        np.array([True, False, False]),
    )
    origin = kin.origin([3, 4], spacegroup=1, repeats=1, known=(1, 0))
    shares = np.exp([-1.0, 0.0, -2.0])
    shares /= shares.sum()
    assert origin.nearest == (0.0, -1.0, -2.0)
    assert origin.other == -1.0
    assert math.isnan(origin.energy)
    expected = (4 * shares[0] + shares[2]) / (shares[0] + shares[2])
    assert origin.mean_energy == pytest.approx(expected)
    assert origin.unknown == pytest.approx(shares[1])
    assert origin.beside == pytest.approx(shares[0])
    assert kin.nearest_other([3, 4]).tolist() == [1, 2]
    alone = Kin(kin.elements[1:2], kin.weights[1:2], kin.energies[1:2], kin.side[1:2])
    assert alone.nearest_other([3, 4]) is None
    assert math.isnan(alone.origin([3, 4], spacegroup=1, repeats=1, known=(1, 0)).mean_energy)


def test_origins_do_not_depend_on_the_file(start, library, tmp_path):
    library.save(tmp_path / "prototypes.npz")
    again = PrototypeStart(PrototypeLibrary.load(tmp_path / "prototypes.npz"), start.priors)
    for one, two in zip(
        made_for(start, "KF").values(), made_for(again, "KF").values(), strict=True
    ):
        assert one.origin.nearest == pytest.approx(two.origin.nearest, abs=1e-5)
        assert isinstance(two.origin.parent, Crystals)
