"""Both searches against ASE and each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ase.neighborlist
import hypothesis.strategies as st
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given

from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import Neighbors, neighbor_list, search
from tests import strategies, systems

BACKENDS = ("reference", "cpu")


def crystals_of(*atoms: Atoms) -> Crystals:
    return Crystals.concatenate(
        [Crystals.single(a.positions, a.cell.array, a.numbers) for a in atoms]
    )


def rows(i: np.ndarray, j: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Pairs as sorted rows (i, j, S1, S2, S3)."""
    table = np.column_stack([i, j, np.reshape(shifts, (-1, 3))]).astype(int)
    return table[np.lexsort(table.T[::-1])]


def table(found: Neighbors) -> np.ndarray:
    return rows(found.i, found.j, found.S)


def assert_same_as_ase(atoms: Atoms, cutoff: object, backend: str) -> None:
    ours = rows(*neighbor_list("ijS", atoms, cutoff, backend=backend))
    theirs = rows(*ase.neighborlist.neighbor_list("ijS", atoms, cutoff))
    np.testing.assert_array_equal(ours, theirs, err_msg=f"{atoms}, cutoff {cutoff}")


def distances(crystals: Crystals, found: Neighbors) -> np.ndarray:
    cells = crystals.cells[crystals.crystal_index[found.i]]
    vectors = crystals.positions[found.j] - crystals.positions[found.i]
    return np.linalg.norm(vectors + np.einsum("px,pxy->py", found.S, cells), axis=1)


# --- equal to ASE -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cutoff", [0.0, 1.7, 3.3])
@pytest.mark.parametrize("name", sorted(systems.PERIODIC | systems.OTHER))
def test_pairs_equal_those_of_ase(name: str, cutoff: float, backend: str) -> None:
    assert_same_as_ase(systems.system(name), cutoff, backend)


@pytest.mark.parametrize("name", sorted(systems.PERIODIC))
def test_compiled_search_equals_reference_far_beyond_the_cell(name: str) -> None:
    crystals = crystals_of(systems.system(name))
    cutoffs = 3.0 * crystals.lengths
    expected = table(search(crystals, cutoffs, backend="reference"))
    np.testing.assert_array_equal(table(search(crystals, cutoffs)), expected)
    assert len(expected) > 50 * crystals.n_atoms  # a sphere of 3 l holds 113 atoms on average


@given(
    atoms=strategies.atoms(max_atoms=6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    rotation=strategies.rotations(improper=True),
    shift=strategies.translations(),
    cutoff=st.floats(0.5, 4.0),
)
def test_any_orientation_shift_and_periodicity(
    atoms: Atoms, pbc: tuple[bool, ...], rotation: np.ndarray, shift: np.ndarray, cutoff: float
) -> None:
    atoms.pbc = pbc
    before = rows(*neighbor_list("ijS", atoms, cutoff))
    atoms.positions = atoms.positions @ rotation + shift
    atoms.set_cell(atoms.cell.array @ rotation, scale_atoms=False)
    after = rows(*neighbor_list("ijS", atoms, cutoff))
    np.testing.assert_array_equal(after, before)
    assert_same_as_ase(atoms, cutoff, "cpu")


@given(batch=strategies.crystals(), kappa=st.floats(0.2, 3.0), half=st.booleans())
def test_batches_equal_reference_and_singles(batch: Crystals, kappa: float, half: bool) -> None:
    cutoffs = kappa * batch.lengths * np.linspace(0.5, 1.0, batch.n_crystals)
    found = search(batch, cutoffs, half=half)
    expected = table(search(batch, cutoffs, half=half, backend="reference"))
    np.testing.assert_array_equal(table(found), expected)
    alone = [search(c, r, half=half) for c, r in zip(batch, cutoffs, strict=True)]
    offset = np.repeat(batch.offsets[:-1], [one.n_pairs for one in alone])
    np.testing.assert_array_equal(found.i, np.concatenate([one.i for one in alone]) + offset)
    np.testing.assert_array_equal(found.j, np.concatenate([one.j for one in alone]) + offset)
    np.testing.assert_array_equal(found.S, np.concatenate([one.S for one in alone]))


@given(one=strategies.atoms(max_atoms=5), basis=strategies.unimodular(), kappa=st.floats(0.5, 2.5))
def test_distances_do_not_depend_on_the_basis(one: Atoms, basis: np.ndarray, kappa: float) -> None:
    crystals = crystals_of(one)
    other = Crystals.single(one.positions, basis @ one.cell.array, one.numbers)
    found = [search(c, kappa * crystals.lengths) for c in (crystals, other)]
    lengths = [np.sort(distances(c, f)) for c, f in zip((crystals, other), found, strict=True)]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-9)


# --- known answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("atoms", "cutoff", "expected"),
    [
        (Atoms("Po", cell=[1, 1, 1], pbc=True), 1.1, 6),
        (Atoms("Po", cell=[1, 1, 1], pbc=True), 1.5, 18),
        (Atoms("Po", cell=[1, 1, 1], pbc=True), 1.8, 26),
        (bulk("Cu", a=3.6), 2.6, 12),
        (bulk("Fe", a=2.87), 2.5, 8),
        (bulk("Si", a=5.43), 2.4, 2 * 4),
        (systems.system("huge_cell"), 6.0, 0),
    ],
)
def test_known_shells(atoms: Atoms, cutoff: float, expected: int, backend: str) -> None:
    assert search(crystals_of(atoms), cutoff, backend=backend).n_pairs == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_pair_exactly_at_the_cutoff_is_left_out(backend: str) -> None:
    """Also in another frame and far from the origin, where only exact numbers can tell."""
    cubic = Atoms("Po", [[64.5, -8.25, 1024.0]], cell=[[0, 2, 0], [0, 0, 2], [2, 0, 0]], pbc=True)
    crystals = crystals_of(cubic)
    assert search(crystals, 2.0, backend=backend).n_pairs == 0
    assert search(crystals, np.nextafter(2.0, 3.0), backend=backend).n_pairs == 6
    large = crystals_of(cubic * (12, 12, 12))  # through the bins
    if backend == "cpu":
        assert search(large, 2.0).n_pairs == 0
        assert search(large, np.nextafter(2.0, 3.0)).n_pairs == 6 * 12**3


@pytest.mark.parametrize("backend", BACKENDS)
def test_coincident_atoms_are_neighbors(backend: str) -> None:
    crystals = crystals_of(systems.system("coincident"))
    found = search(crystals, 0.1, backend=backend)
    assert rows(found.i, found.j, found.S).tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]


def test_numbers_of_any_kind_are_taken() -> None:
    atoms = systems.system("perovskite_rattled")
    positions = atoms.positions.astype(np.float32)
    atoms.positions = positions
    crystals = Crystals(
        positions,
        atoms.cell.array[None].astype(np.float32),
        atoms.numbers,
        np.array([0, len(atoms)], dtype=np.int32),
    )
    exact = crystals_of(atoms)
    exact.cells[:] = crystals.cells
    np.testing.assert_array_equal(table(search(crystals, 4)), table(search(exact, 4.0)))


# --- the list itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_types_order_and_ranges(backend: str) -> None:
    batch = crystals_of(*(systems.system(n) for n in ("fcc", "huge_cell", "perovskite")))
    found = search(batch, [3.0, 1.0, 3.0], backend=backend)
    assert found.i.dtype == found.j.dtype == found.first.dtype == np.int64
    assert found.S.dtype == np.int32
    assert found.S.shape == (found.n_pairs, 3)
    assert np.all(np.diff(found.i) >= 0)
    assert found.first.shape == (batch.n_atoms + 1,)
    np.testing.assert_array_equal(found.counts, np.bincount(found.i, minlength=batch.n_atoms))
    np.testing.assert_array_equal(np.repeat(np.arange(batch.n_atoms), found.counts), found.i)
    np.testing.assert_array_equal(batch.crystal_index[found.i], batch.crystal_index[found.j])


@given(batch=strategies.crystals(max_crystals=2), kappa=st.floats(0.5, 2.0))
def test_half_list_and_its_mirror_make_the_full_list(batch: Crystals, kappa: float) -> None:
    half, full = (search(batch, kappa * batch.lengths, half=h) for h in (True, False))
    mirrored = rows(
        np.concatenate([half.i, half.j]),
        np.concatenate([half.j, half.i]),
        np.concatenate([half.S, -half.S]),
    )
    np.testing.assert_array_equal(mirrored, table(full))
    assert np.all(half.i <= half.j)


def test_no_pair_keeps_shapes_and_types() -> None:
    found = search(crystals_of(systems.system("huge_cell")), 1.0)
    assert found.i.shape == found.j.shape == (0,)
    assert found.S.shape == (0, 3)
    assert found.first.tolist() == [0, 0]


# --- large crystals -----------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_binned_search_of_a_large_skewed_crystal(half: bool) -> None:
    """Enough images that they are sorted into bins; ASE is the oracle."""
    atoms = systems.rattled(systems.system("rutile") * (6, 6, 8), 0.15)
    atoms.set_cell(np.array([[1, 2, 0], [0, 1, -1], [0, 0, 1]]) @ atoms.cell.array)
    atoms.positions += np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    found = search(crystals_of(atoms), 3.5, half=half)
    i, j, shifts = ase.neighborlist.neighbor_list("ijS", atoms, 3.5)
    if half:
        kept = i < j  # the cell is too large for an atom to meet its image
        i, j, shifts = i[kept], j[kept], shifts[kept]
    np.testing.assert_array_equal(table(found), rows(i, j, shifts))


def test_clusters_in_a_vast_cell() -> None:
    """Far more pairs than the density lets expect, and far more room than atoms for bins."""
    rng = np.random.default_rng(1)
    centers = rng.uniform(0, 4000, size=(40, 1, 3))
    atoms = Atoms(
        "H2000", (centers + rng.normal(size=(40, 50, 3))).reshape(-1, 3), cell=[4000] * 3, pbc=True
    )
    crystals = crystals_of(systems.system("fcc"), atoms, systems.system("rutile"))
    found = search(crystals, 3.0)
    vectors = atoms.positions[:, None, :] - atoms.positions[None, :, :]
    vectors -= 4000 * np.round(vectors / 4000)
    near = np.sqrt((vectors**2).sum(-1)) < 3.0
    np.fill_diagonal(near, False)
    np.testing.assert_array_equal(found.counts[1:-6], near.sum(axis=1))
    assert found.counts[0] == 12


def test_one_small_cluster_that_outgrows_the_first_guess() -> None:
    """The buffers are enlarged until a single center fits."""
    atoms = Atoms("H300", np.zeros((300, 3)), cell=[100] * 3, pbc=True)
    found = search(crystals_of(atoms, systems.system("fcc")), [1.0, 3.0])
    np.testing.assert_array_equal(found.counts, [299] * 300 + [12])


def test_a_crystal_of_more_images_than_are_kept_between_small_ones() -> None:
    """All of what a search writes to is enlarged on the way, in any order."""
    small = systems.system("perovskite_rattled")
    large = systems.rattled(small * (9, 9, 9), 0.1)
    batch = crystals_of(small, large, small, large, systems.system("fcc"))
    cutoffs = np.array([14.0, 4.0, 5.0, 5.0, 3.0])
    found = search(batch, cutoffs)
    for b, (one, r) in enumerate(zip(batch, cutoffs, strict=True)):
        begin, end = found.first[batch.offsets[b]], found.first[batch.offsets[b + 1]]
        i, j, shifts = (x[begin:end] for x in (found.i, found.j, found.S))
        offset = batch.offsets[b]
        atoms = (small, large, small, large, systems.system("fcc"))[b]
        theirs = ase.neighborlist.neighbor_list("ijS", atoms, r)
        np.testing.assert_array_equal(rows(i - offset, j - offset, shifts), rows(*theirs))
        np.testing.assert_array_equal(table(search(one, r)), rows(*theirs))


def test_a_result_outlives_the_searches_after_it_and_beside_it() -> None:
    """What a thread keeps from search to search is its own and no part of the result."""
    batches = [crystals_of(systems.system(n)) for n in sorted(systems.PERIODIC)]
    alone = [table(search(one, 4.0)) for one in batches]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda one: search(one, 4.0), batches * 20))
    for k, found in enumerate(beside):
        np.testing.assert_array_equal(table(found), alone[k % len(batches)])


# --- neighbor_list ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "cutoff",
    [
        {("Sr", "O"): 2.9, (22, 8): 2.1},
        {("O", "O"): 3.0, ("O", 8): 2.0},  # the later entry wins
        [1.4, 0.9, 0.6, 0.6, 0.6],
        np.float32(2.5),
        3,
    ],
)
def test_cutoffs_of_every_form(cutoff: object, backend: str) -> None:
    assert_same_as_ase(systems.system("perovskite_rattled"), cutoff, backend)


def test_quantities_come_in_the_order_asked_for() -> None:
    atoms = systems.system("slab")
    i, j, d, vectors, shifts = neighbor_list("ijdDS", atoms, 4.0)
    expected = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
    np.testing.assert_array_equal(vectors, expected)
    np.testing.assert_allclose(d, np.linalg.norm(vectors, axis=1), rtol=1e-15)
    again = neighbor_list("SDdji", atoms, 4.0)
    for one, other in zip(again, (shifts, vectors, d, j, i), strict=True):
        np.testing.assert_array_equal(one, other)
    theirs = ase.neighborlist.neighbor_list("ijdDS", atoms, 4.0)
    for one, other in zip((i, j, d, vectors, shifts), theirs, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
    assert isinstance(neighbor_list("d", atoms, 4.0), np.ndarray)


# --- errors -------------------------------------------------------------------------------------


def test_search_refuses_bad_input() -> None:
    crystals = crystals_of(systems.system("fcc"), systems.system("bcc"))
    with pytest.raises(ValueError, match=r"one per crystal: 2 crystals, cutoffs of shape \(3,\)"):
        search(crystals, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"cutoffs must be finite and not negative: -1\.0"):
        search(crystals, [3.0, -1.0])
    with pytest.raises(ValueError, match="cutoffs must be finite and not negative: nan"):
        search(crystals, np.nan)
    with pytest.raises(
        ValueError, match="must be one of 'auto', 'reference', 'cpu', 'cuda': 'gpu'"
    ):
        search(crystals, 3.0, backend="gpu")
    crystals.positions[1, 2] = np.inf
    with pytest.raises(ValueError, match="positions must be finite: found inf"):
        search(crystals, 3.0)
    crystals.positions[1, 2] = 0.0
    crystals.cells[1, 2] = 0.0
    with pytest.raises(ValueError, match="cells must have three independent vectors"):
        search(crystals, 3.0)


def test_neighbor_list_refuses_bad_input() -> None:
    atoms = systems.system("fcc")
    with pytest.raises(ValueError, match="quantities must be letters of 'ijdDS': 'ijx'"):
        neighbor_list("ijx", atoms, 3.0)
    with pytest.raises(ValueError, match="quantities must be letters of 'ijdDS': ''"):
        neighbor_list("", atoms, 3.0)
    with pytest.raises(ValueError, match=r"one radius per atom: 1 atoms, radii of shape \(2,\)"):
        neighbor_list("i", atoms, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"cutoff must be finite and not negative: -3\.0"):
        neighbor_list("i", atoms, -3.0)
    with pytest.raises(ValueError, match="independent vector along each periodic direction"):
        neighbor_list("i", Atoms("H", pbc=True), 3.0)
    with pytest.raises(ValueError, match="backend must be one of"):
        neighbor_list("i", atoms, 3.0, backend="gpu")
    atoms.positions[0] = np.nan
    with pytest.raises(ValueError, match="positions must be finite: found nan"):
        neighbor_list("i", atoms, 3.0)
