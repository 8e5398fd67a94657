"""Prototype starts: fingerprints, alignment, the library and what is generated from it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.data import covalent_radii
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from ase_continuousp.crystals import Crystals
from ase_continuousp.pretrained import model_path
from ase_continuousp.starts.alignment import aligned
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.fingerprint import fingerprints, relabelings
from ase_continuousp.starts.fitting import calibration
from ase_continuousp.starts.library import PrototypeLibrary, anonymized, quantized, stoichiometry
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.starts.substitution import (
    N_BALANCE,
    N_ELEMENTS,
    N_SITE,
    Substitution,
    diverse,
)

SEED = 20240


class FixedVolume:
    """A volume model with one answer."""

    def log_volume_per_atom(self, numbers):
        return math.log(12.0)


def as_crystals(atoms):
    return Crystals.single(atoms.positions, atoms.cell.array, atoms.numbers)


def as_structure(c):
    return Structure(c.cells[0], c.numbers, c.positions, coords_are_cartesian=True)


def perovskite(a, b, x, edge):
    basis = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal([a, b, x], basis, spacegroup=221, cellpar=[edge] * 3 + [90] * 3)


def wurtzite(a, x, u, ratio):
    return bulk(a + x, "wurtzite", a=3.2, c=3.2 * ratio, u=u)


def training_atoms():
    """Return rock salts, cesium chlorides, perovskites, wurtzites, and a lone rutile."""
    salts = [bulk(f, "rocksalt", a=e) for f, e in [("NaCl", 5.6), ("MgO", 4.2), ("KBr", 6.6)]]
    chlorides = [bulk(f, "cesiumchloride", a=e) for f, e in [("CsCl", 4.1), ("TlBr", 4.0)]]
    cubes = [perovskite(*x) for x in [("Sr", "Ti", "O", 3.9), ("Ba", "Zr", "O", 4.2)]]
    wurtzites = [wurtzite("Zn", "O", 0.382, 1.602), wurtzite("Ga", "N", 0.376, 1.626)]
    rutile = crystal(
        ["Ti", "O"],
        [(0, 0, 0), (0.305, 0.305, 0)],
        spacegroup=136,
        cellpar=[4.6, 4.6, 2.96] + [90] * 3,
    )
    return [*salts, *chlorides, *cubes, *wurtzites, rutile]


@pytest.fixture(scope="module")
def training():
    return Crystals.concatenate([as_crystals(a) for a in training_atoms()])


@pytest.fixture(scope="module")
def library(training):
    return build_library(training, n_fit=0, min_members=1)


def random_crystal(rng, n_atoms=6, n_labels=2):
    cell = np.eye(3) * 4.0 + rng.normal(scale=0.6, size=(3, 3))
    labels = np.sort(rng.integers(0, n_labels, n_atoms))
    labels[0], labels[-1] = 0, n_labels - 1
    return Crystals.single(rng.random((n_atoms, 3)) @ cell, cell, labels)


# -- fingerprints


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_fingerprint_ignores_description_and_volume(seed):
    rng = np.random.default_rng(seed)
    one = random_crystal(rng)
    expected = fingerprints(one, one.numbers, 2)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    basis = np.array([[1, 0, 0], [1, 1, 0], [-1, 0, 1]])
    order = rng.permutation(one.n_atoms)
    scale = rng.uniform(0.5, 2.0)
    positions = (one.positions + rng.normal(size=3))[order] @ turn * scale
    other = Crystals.single(positions, basis @ one.cells[0] @ turn * scale, one.numbers[order])
    np.testing.assert_allclose(fingerprints(other, other.numbers, 2), expected, atol=1e-9)


def test_fingerprint_ignores_supercells():
    one = random_crystal(np.random.default_rng(SEED))
    big = make_supercell(
        Atoms(one.numbers + 1, positions=one.positions, cell=one.cells[0], pbc=True),
        [[2, 0, 0], [0, 1, 0], [1, 0, 1]],
    )
    twice = Crystals.single(big.positions, big.cell.array, big.numbers - 1)
    np.testing.assert_allclose(
        fingerprints(twice, twice.numbers, 2), fingerprints(one, one.numbers, 2), atol=1e-9
    )


def test_exchanged_labels_exchange_rows_and_columns():
    one = random_crystal(np.random.default_rng(SEED), n_labels=3)
    order = (2, 0, 1)
    prints = fingerprints(one, one.numbers, 3)[0]
    moved = fingerprints(one, np.argsort(order)[one.numbers], 3)[0]
    np.testing.assert_allclose(moved, prints[np.ix_(order, order)], atol=1e-12)


@pytest.mark.parametrize("counts", [(1, 1, 3), (1, 1, 1), (2, 3), (1, 1, 2, 2)])
def test_relabelings_are_all_that_keep_the_counts(counts):
    keep = {
        p
        for p in itertools.permutations(range(len(counts)))
        if all(counts[k] == counts[q] for k, q in enumerate(p))
    }
    made = relabelings(counts)
    assert set(made) == keep
    assert len(made) == len(keep)
    assert made[0] == tuple(range(len(counts)))


# -- alignment


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_alignment_undoes_a_change_of_setting(seed):
    rng = np.random.default_rng(seed)
    one = random_crystal(rng)
    counts = np.bincount(one.numbers)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    basis = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 1]]) * rng.choice([-1, 1])
    order = np.concatenate(
        [rng.permutation(np.flatnonzero(one.numbers == k)) for k in range(len(counts))]
    )
    cell = basis @ one.cells[0] @ turn * 1.7
    fractional = (one.fractional @ np.linalg.inv(basis) + rng.random(3))[order]
    fractional -= np.floor(fractional)
    found = aligned(one.cells[0], one.fractional, cell, fractional, counts)
    assert found is not None
    metric, placed, displacement = found
    unit = one.cells[0] * np.cbrt(one.n_atoms / one.volumes[0])
    np.testing.assert_allclose(metric, unit @ unit.T, atol=1e-9)
    np.testing.assert_allclose(placed, one.fractional, atol=1e-8)
    assert displacement < 1e-8


def test_alignment_refuses_another_lattice():
    cube = np.eye(3)
    slab = np.diag([1.0, 1.0, 3.0])
    assert aligned(cube, [[0, 0, 0]], slab, [[0, 0, 0]], [1]) is None


# -- library


def test_anonymized_sorts_by_count():
    elements, counts, labels = anonymized([8, 22, 8, 38, 8])
    assert elements.tolist() == [22, 38, 8]
    assert counts == (1, 1, 3)
    assert labels.tolist() == [2, 0, 2, 1, 2]
    assert stoichiometry((6, 2, 4)) == ((1, 2, 3), 2)


def test_classes_are_prototypes(library):
    found = set()
    for p in range(library.n_prototypes):
        rows, _ = library.members(p)
        found.add((int(library.spacegroups[p]), frozenset(tuple(sorted(r)) for r in rows.tolist())))
    assert found == {
        (225, frozenset({(11, 17), (8, 12), (19, 35)})),
        (221, frozenset({(17, 55), (35, 81)})),
        (221, frozenset({(8, 22, 38), (8, 40, 56)})),
        (186, frozenset({(8, 30), (7, 31)})),
        (136, frozenset({(8, 22)})),
    }
    assert library.n_prototypes == 5
    assert library.n_members.sum() == 10


def test_members_of_a_class_have_their_elements_on_corresponding_sites(library):
    (p,) = library.of_stoichiometry((1, 1, 3))
    rows, _ = library.members(p)
    columns = [set(column) for column in rows.T.tolist()]
    assert {38, 56} in columns
    assert {22, 40} in columns
    assert columns[2] == {8}


def test_parameters_are_averaged(library):
    (p,) = [p for p in library.of_stoichiometry((1, 1)) if library.spacegroups[p] == 186]
    cell, _, _ = library.structure(p)
    ratio = np.linalg.norm(cell[2]) / np.linalg.norm(cell[0])
    assert ratio == pytest.approx((1.602 + 1.626) / 2, abs=2e-3)
    assert abs(np.linalg.det(cell)) == pytest.approx(4.0)


def test_stored_prototypes_keep_their_symmetry(library):
    for p in range(library.n_prototypes):
        cell, fractional, labels = library.structure(p)
        dataset = spglib.get_symmetry_dataset((cell * 3, fractional, labels + 1), symprec=2e-3)
        assert dataset.number == library.spacegroups[p]


def test_means_of_distorted_members_are_idealized():
    rng = np.random.default_rng(SEED)
    salts = []
    for edge in (5.0, 5.6, 6.2, 4.8):
        atoms = bulk("NaCl", "rocksalt", a=edge, cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.004 * rng.normal(size=(3, 3))), scale_atoms=True)
        salts.append(as_crystals(atoms))
    library = build_library(Crystals.concatenate(salts), n_fit=0, tolerances=[0.1])
    assert library.spacegroups.tolist() == [225]
    assert library.n_atoms.tolist() == [2]


def test_supercells_and_polar_settings_join_the_class_of_the_primitive_cell():
    salt = bulk("NaCl", "rocksalt", a=5.6)
    cube = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    library = build_library(Crystals.concatenate([as_crystals(cube), as_crystals(salt)]), n_fit=0)
    assert library.n_prototypes == 1
    assert library.n_atoms.tolist() == [2]


def test_library_survives_its_file(library, tmp_path):
    path = tmp_path / "prototypes.npz"
    library.save(path)
    again = PrototypeLibrary.load(path)
    for name in ("shapes", "sites", "elements", "vectors", "constants", "n_members"):
        np.testing.assert_array_equal(getattr(again, name), getattr(library, name))
    assert list(tmp_path.iterdir()) == [path]


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, format=np.array("something else"))
    with pytest.raises(ValueError, match="is not a prototype library"):
        PrototypeLibrary.load(path)
    path.write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match="is not a prototype library"):
        PrototypeLibrary.load(path)


def test_quantization_is_exact_for_special_positions():
    special = [[0.0, 0.5, 1 / 3], [2 / 3, 0.25, 0.125], [1 / 6, 0.2, 0.1]]
    _, stored = quantized([1.0, 1.0, 1.0, 90.0, 120.0, 60.0], special)
    np.testing.assert_allclose(stored / 65520, special, atol=1e-15)


def test_no_prototype_is_one_crystal(training):
    library = build_library(training, n_fit=0)
    assert library.n_prototypes == 4
    assert library.n_members.min() == 2


def wurtzites(*inner):
    """Return wurtzites that differ by the height of the second element."""
    pairs = [("Zn", "O"), ("Ga", "N"), ("Al", "P"), ("Cd", "S")]
    made = [wurtzite(*e, u, 1.6) for e, u in zip(pairs, inner, strict=False)]
    return Crystals.concatenate([as_crystals(a) for a in made])


def height(library, p):
    """Return u of a wurtzite, the layers of the elements being 1/2 - u apart."""
    _, fractional, labels = library.structure(p)
    gaps = np.subtract.outer(fractional[labels == 0, 2], fractional[labels == 1, 2])
    return 0.5 - np.min(np.abs(gaps - np.rint(gaps)))


def test_what_is_left_alone_is_grouped_more_coarsely():
    batch = wurtzites(0.376, 0.377, 0.40)
    fine = build_library(batch, n_fit=0, tolerances=[0.05], min_members=1)
    assert sorted(fine.n_members.tolist()) == [1, 2]
    both = build_library(wurtzites(0.38, 0.40), n_fit=0, tolerances=[0.05, 0.4])
    assert both.n_members.tolist() == [2]
    assert height(both, 0) == pytest.approx(0.39, abs=1e-3)


def test_what_stays_alone_is_averaged_with_a_relative():
    library = build_library(wurtzites(0.376, 0.377, 0.40), n_fit=0, tolerances=[0.05])
    assert library.n_members.tolist() == [2, 2]
    assert height(library, 0) == pytest.approx(0.3765, abs=1e-3)
    assert height(library, 1) == pytest.approx(0.3885, abs=1e-3)


def test_nothing_shared_is_refused():
    with pytest.raises(ValueError, match="crystals must share structures"):
        build_library(wurtzites(0.376), n_fit=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerances": [0.1, 0.05]}, "tolerances must be positive and ascend"),
        ({"tolerances": []}, "tolerances must be positive and ascend"),
        ({"min_members": 0}, "min_members must be 1 to n_averaged=6: 0"),
        ({"min_members": 7}, "min_members must be 1 to n_averaged=6: 7"),
    ],
)
def test_bad_arguments_of_building_are_refused(training, arguments, message):
    with pytest.raises(ValueError, match=message):
        build_library(training, n_fit=0, **arguments)


def test_side_must_fit(training):
    with pytest.raises(ValueError, match="side must have one value per crystal"):
        build_library(training, n_fit=0, side=[True])


# -- the distance between elements


def test_fit_learns_who_stands_for_whom():
    """Halides take the place of halides only because the training set says so."""
    rng = np.random.default_rng(SEED)
    cations, first, second = [3, 11, 19, 37, 20, 38, 56], [9, 17, 26], [35, 53, 27]
    crystals = []
    for cation, (group, build) in itertools.product(
        cations, [(first, "rocksalt"), (second, "zincblende")]
    ):
        crystals += [as_crystals(two_atoms(cation, x, build)) for x in group]
    batch = Crystals.concatenate([crystals[k] for k in rng.permutation(len(crystals))])
    library = build_library(batch, n_fit=len(batch), seed=1)
    vectors = library.vectors[:, :N_SITE]
    plain = build_library(batch, n_fit=0).vectors[:, :N_SITE]
    for a, b, apart in [(26, 27, True), (9, 26, False), (35, 27, False)]:
        before, after = (np.linalg.norm(v[a] - v[b]) for v in (plain, vectors))
        assert (after > before + 0.1) if apart else (after < before)


def two_atoms(a, x, kind):
    atoms = bulk("NaCl", kind, a=5.0)
    atoms.numbers = [a, x]
    return atoms


def test_log_weights_against_the_formula():
    rng = np.random.default_rng(SEED)
    rule = Substitution(rng.normal(size=(N_ELEMENTS, N_SITE + N_BALANCE)), np.arange(1.0, 10.0) / 5)
    targets, members = [[3, 8, 9], [8, 3, 9]], [[11, 12, 17], [3, 8, 9]]
    x = np.array([0.2, 0.2, 0.6])
    made = rule.log_weights(targets, members, x, same_cell=[True, False], side=[False, True])
    u, v = rule.vectors[:, :N_SITE], rule.vectors[:, N_SITE:]
    for o, m in itertools.product(range(2), range(2)):
        a, b = targets[o], members[m]
        own = sum(x[k] ** 0.2 * np.sum((u[a[k]] - u[b[k]]) ** 2) for k in range(3))
        all_ = np.sum(sum(x[k] * (v[a[k]] - v[b[k]]) for k in range(3)) ** 2)
        assert made[o, m] == pytest.approx(1.4 * (-own - all_ + (0.4 if m == 0 else 0.6)))


def test_diverse_choices_do_not_repeat_what_matches():
    match = np.eye(3)
    match[0, 1] = match[1, 0] = 1.0
    chosen, worth = diverse([0.5, 0.3, 0.2], match, 3)
    assert chosen[:2] == [0, 2]
    assert worth == pytest.approx([0.8, 0.2, 0.0])


def test_probabilities_are_calibrated_shares():
    rule = Substitution.untrained(np.zeros((N_ELEMENTS, N_SITE + N_BALANCE)))
    worth = np.array([0.6, 0.3, 0.0])
    np.testing.assert_allclose(rule.probabilities(worth), [0.6, 0.3, 0.0], atol=1e-8)
    shares = np.random.default_rng(SEED).random(50_000)
    matched = np.random.default_rng(SEED + 1).random(50_000) < shares**2
    offset, slope = calibration(shares, matched)
    constants = rule.constants.copy()
    constants[7:9] = offset, slope
    fitted = Substitution(rule.vectors, constants)
    for share in (0.3, 0.5, 0.8):
        assert fitted.probabilities([share])[0] == pytest.approx(share**2, abs=0.05)


def test_calibration_bears_shares_near_zero_and_one():
    rng = np.random.default_rng(SEED)
    truth = rng.random(2_000)
    logits = 4.0 * np.log(truth / (1.0 - truth))  # far too sure
    offset, slope = calibration(1.0 / (1.0 + np.exp(-logits)), rng.random(2_000) < truth)
    assert offset == pytest.approx(0.0, abs=0.15)
    assert slope == pytest.approx(0.25, abs=0.03)


# -- starts


@pytest.fixture(scope="module")
def start(library):
    return PrototypeStart(library, FixedVolume())


@pytest.mark.parametrize(
    ("numbers", "reference"),
    [
        ([20, 8], bulk("CaO", "rocksalt", a=4.8)),
        ([8, 8, 8, 20, 22], perovskite("Ca", "Ti", "O", 3.9)),
        ([48, 16, 48, 16], wurtzite("Cd", "S", 0.377, 1.62)),
        ([8, 50, 8, 50, 8, 8], None),
    ],
)
def test_a_start_has_the_atoms_asked_for_in_their_order(start, numbers, reference):
    made = start.generate(numbers, 20, np.random.default_rng(0))
    assert made
    for s in made:
        assert s.kind == "prototype"
        assert s.crystals.numbers.tolist() == numbers
        assert s.crystals.volumes[0] / len(numbers) == pytest.approx(12.0)
    if reference is not None:
        wanted = as_structure(as_crystals(reference))
        matcher = StructureMatcher(stol=0.5, angle_tol=10, ltol=0.3)
        assert any(matcher.fit(wanted, as_structure(s.crystals)) for s in made)


def test_chemistry_decides_who_is_first(start):
    labels = [start.generate(z, 1, np.random.default_rng(0))[0].label for z in ([37, 17], [55, 35])]
    assert labels[1] == "AB Pm-3m 221"
    assert labels[0].startswith("AB ")
    first = start.generate([38, 40, 8, 8, 8], 1, np.random.default_rng(0))[0]
    distances = first.crystals.positions[2:] - first.crystals.positions[1]
    cell = first.crystals.cells[0]
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ cell
    near = np.linalg.norm(distances[:, None] + shifts, axis=-1)
    edge = np.linalg.norm(cell[0])
    assert near.min() == pytest.approx(edge / 2, rel=1e-3)  # Zr amid oxygen, Sr at the corner


def test_distances_are_the_logarithm_of_shares(start):
    made = start.generate([12, 8], 20, np.random.default_rng(0))
    shares = [math.exp(-s.distance) for s in made]
    assert all(0.0 < share <= 1.0 for share in shares)
    assert sum(shares) <= 1.0 + 1e-9


def test_smaller_prototypes_are_repeated(start):
    numbers = [38, 22, 8, 8, 8] * 4
    made = start.generate(numbers, 3, np.random.default_rng(0))[0].crystals
    wanted = as_structure(as_crystals(perovskite("Sr", "Ti", "O", 3.9)))
    assert StructureMatcher().fit(wanted, as_structure(made))
    lengths = np.linalg.norm(made.cells[0], axis=1)
    assert lengths.max() / lengths.min() < 2.1


def test_results_are_the_same_each_time_and_distinct(start):
    a = start.generate([30, 16], 10, np.random.default_rng(0))
    b = start.generate([30, 16], 10, np.random.default_rng(1))
    assert [s.label for s in a] == [s.label for s in b]
    for s, t in zip(a, b, strict=True):
        np.testing.assert_array_equal(s.crystals.positions, t.crystals.positions)
    matcher = StructureMatcher(stol=0.05, ltol=0.05, angle_tol=2)
    for s, t in itertools.combinations(a, 2):
        assert not matcher.fit(as_structure(s.crystals), as_structure(t.crystals))


def test_a_compound_can_be_left_out(library):
    full = PrototypeStart(library, FixedVolume())
    without = PrototypeStart(library, FixedVolume(), leave_out=["Ti2O4"])
    numbers = [22, 22, 8, 8, 8, 8]
    assert [s.label for s in full.generate(numbers, 5, np.random.default_rng(0))] == [
        "AB2 P42/mnm 136"
    ]
    assert without.generate(numbers, 5, np.random.default_rng(0)) == []
    assert len(without.generate([50, 50, 8, 8, 8, 8], 5, np.random.default_rng(0))) == 1


def test_unknown_stoichiometry_has_no_start(start):
    assert start.generate([3, 3, 3, 8, 8, 8, 8, 8], 5, np.random.default_rng(0)) == []
    assert start.generate([12, 8], 0, np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    ("numbers", "n", "message"),
    [
        ([], 1, "numbers must be"),
        ([0, 8], 1, "numbers must be"),
        ([200], 1, "numbers must be"),
        ([8], -1, "n must not be negative: -1"),
    ],
)
def test_nonsense_is_refused(start, numbers, n, message):
    with pytest.raises(ValueError, match=message):
        start.generate(numbers, n, np.random.default_rng(0))


def test_bonds_are_plausible(start):
    for s in start.generate([12, 8], 5, np.random.default_rng(0)):
        cell = s.crystals.cells[0]
        shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ cell
        r = s.crystals.positions
        d = np.linalg.norm(r[:, None, None] - r[None, :, None] + shifts, axis=-1)
        assert d[d > 1e-6].min() > 0.6 * (covalent_radii[8] + covalent_radii[8])


@pytest.mark.parametrize("formula", ["SrTiO3", "BaTiO3", "KMgF3", "CaTiO3"])
def test_equal_crystals_are_as_near_as_the_nearest_they_stand_for(formula):
    """The library knows these compounds; a perovskite has several equal descriptions."""
    folder = model_path("mp20")
    start = PrototypeStart(folder / "prototypes.npz", Priors.load(folder / "priors.json"))
    numbers = Atoms(formula).numbers
    made = start.generate_any(numbers, [1, 2, 3, 4], 12)
    cubic = [one for one in made if one.label.endswith(" 221")]
    assert max(one.nearness for one in cubic) > -1e-6
