"""From formulas to ranked candidates, on energies of which the answer is known."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.io import from_atoms, read_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.search.candidates import (
    Candidate,
    has_clash,
    make_candidate,
    write_candidates,
)
from ase_continuousp.search.composition import (
    check_elements,
    choose_units,
    formula_unit,
    parse_formula,
    unit_frequencies,
)
from ase_continuousp.search.dedupe import equivalence_classes
from ase_continuousp.search.jobs import batches_of
from ase_continuousp.search.predict import predict, rank_refined
from ase_continuousp.search.rank import EnergyRanking
from ase_continuousp.search.refine import Refined, anneal_settings, refine_starts
from ase_continuousp.search.sample import sample
from ase_continuousp.search.sources import Sources, shared_out, sources_of_model
from ase_continuousp.search.standard import standardized
from ase_continuousp.search.symmetry import spacegroup, symmetrized
from ase_continuousp.search.table import format_table
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.shapes import ShapeModel
from tests.strategies import atoms as any_atoms
from tests.systems import perovskite, rattled, rutile, supercell
from tests.tiny_model import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"n_steps": 4, "quench_steps": 4}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=settings)


def volume_well(crystals: Crystals) -> Evaluation:
    """Return N/2 (log(V/N) − log 20)²: every crystal of 20 Å³ an atom is a minimum."""
    gap = np.log(crystals.volumes / crystals.counts / 20.0)
    energy = 0.5 * crystals.counts * gap**2
    pressure = crystals.counts * gap / crystals.volumes
    return Evaluation(
        energy=energy,
        energies=np.repeat(energy / crystals.counts, crystals.counts),
        forces=np.zeros((crystals.n_atoms, 3)),
        stress=pressure[:, None, None] * np.eye(3),
    )


def refined(atoms: Atoms, energy_per_atom: float, label: str = "") -> Refined:
    crystal = from_atoms(atoms)
    n = len(atoms)
    start = StartCrystal(crystal, "random", label=label)
    return Refined(
        crystal, n * energy_per_atom, np.zeros((n, 3)), np.eye(3) * 0.1, True, start, np.zeros(3)
    )


# Compositions


@pytest.mark.parametrize(
    ("formula", "numbers"),
    [
        ("SrTiO3", [38, 22, 8, 8, 8]),
        ("Ca(OH)2", [20, 8, 8, 1, 1]),
        (" Si2 ", [14, 14]),
        ("Sr2Ti2O6", [38, 38, 22, 22] + [8] * 6),
    ],
)
def test_formulas_are_read(formula: str, numbers: list[int]) -> None:
    assert parse_formula(formula).tolist() == numbers


@pytest.mark.parametrize("bad", ["", "  ", "srtio3", "Foo", "X2", "NaCl2.5", "Na-Cl", "()", "3"])
def test_bad_formulas_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="formula must"):
        parse_formula(bad)


def test_formulas_of_the_wrong_kind_or_size_are_refused() -> None:
    with pytest.raises(TypeError, match="formula must be a string or Atoms: int"):
        parse_formula(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 500 atoms"):
        parse_formula("C1000000000")


def test_unknown_element_lists_the_supported_ones() -> None:
    with pytest.raises(ValueError, match=r"element U is not supported.*'m'; supported: H, O"):
        check_elements([92, 8], (8, 1), "m")


def test_all_cells_of_at_most_twenty_atoms_are_tried() -> None:
    assert choose_units(parse_formula("SrTiO3")) == [1, 2, 3, 4]
    assert choose_units(parse_formula("Si")) == list(range(1, 21))
    assert choose_units([6] * 30) == [1]
    assert choose_units([11, 17], (4, 1, 4)) == [1, 4]


def test_frequencies_of_cell_sizes_are_those_of_the_training_set() -> None:
    patterns = {"8": [(0, 8)], "12": [(0, 50), (1, 39)]}
    empty = np.zeros((1, 6))
    shapes = ShapeModel(empty, empty, np.array([1]), np.array([5]), patterns)
    seen = unit_frequencies([14], [1, 8, 12], shapes)
    assert seen == pytest.approx({1: 0.01, 8: 0.09, 12: 0.9})


@given(
    st.dictionaries(st.integers(1, 20), st.floats(0.01, 1.0), min_size=1, max_size=8),
    st.integers(0, 40),
)
def test_starts_are_shared_out_by_frequency(frequencies: dict[int, float], n: int) -> None:
    units = sorted(frequencies)
    counts = shared_out(units, n, frequencies)
    assert sum(counts.values()) == n
    assert len(counts) == min(n, 4, len(units))
    left_out = [frequencies[z] for z in units if z not in counts]
    assert max(left_out, default=0.0) <= min((frequencies[z] for z in counts), default=1.0)
    for one in counts:
        for other in counts:
            if frequencies[one] > frequencies[other]:
                assert counts[one] >= counts[other]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [([], ValueError), (0, ValueError), (10**6, ValueError), ([1.5], TypeError)],
)
def test_bad_formula_units_are_refused(wanted: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="formula_units must"):
        choose_units([11, 17], wanted)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from([1, 8, 22, 38]), min_size=1, max_size=12))
def test_formula_unit_times_count_is_the_cell(numbers: list[int]) -> None:
    unit, count = formula_unit(numbers)
    assert sorted(np.tile(unit, count).tolist()) == sorted(numbers)


@given(st.lists(st.integers(1, 200), max_size=30), st.none() | st.integers(1, 9))
def test_batches_are_a_partition(sizes: list[int], batch_size: int | None) -> None:
    batches = batches_of(sizes, batch_size)
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    assert all(batches)
    if batch_size is not None:
        assert max(map(len, batches), default=0) <= batch_size


# Refinement


def test_refinement_reaches_the_minimum_from_every_level() -> None:
    starts = [
        StartCrystal(from_atoms(perovskite(length=length)), "random", noise=noise)
        for length, noise in [(3.6, 1.0), (4.9, 0.1), (4.3, 0.01)]
    ]
    settings = AnnealSettings(n_steps=30, quench_steps=200, quench_step=0.5, tolerance=1e-4)
    done = refine_starts(volume_well, starts, settings, np.random.default_rng(0))
    for one, start in zip(done, starts, strict=True):
        assert one.start is start
        assert one.converged
        assert one.crystals.volumes[0] / 5 == pytest.approx(20.0, rel=0.02)
        assert one.energy_per_atom == pytest.approx(one.trace[-1], abs=1e-9)


def test_starts_of_level_zero_are_taken_as_built() -> None:
    built = [from_atoms(perovskite(length=length)) for length in (4.3, 3.6)]
    starts = [
        StartCrystal(built[0], "prototype", noise=0.0),
        StartCrystal(built[1], "random", noise=0.5),
    ]
    settings = AnnealSettings(n_steps=5, quench_steps=50, quench_step=0.5)
    done = refine_starts(volume_well, starts, settings, np.random.default_rng(0))
    np.testing.assert_array_equal(done[0].crystals.positions, built[0].positions)
    assert done[0].energy == pytest.approx(volume_well(built[0]).energy[0])
    assert abs(done[1].crystals.volumes[0] - built[1].volumes[0]) > 1.0


def test_settings_of_the_card_and_of_the_caller(model: Path) -> None:
    trained = load_model(model)
    assert anneal_settings(trained).n_steps == 4
    assert anneal_settings(trained, n_steps=7).n_steps == 7
    assert anneal_settings(trained, relax=False).quench_steps == 0
    trained.card["anneal"] = {"heat": 3}
    with pytest.raises(ValueError, match="card has a wrong setting"):
        anneal_settings(trained)


# Duplicates


def test_classes_are_those_of_structure_matcher() -> None:
    rng = np.random.default_rng(0)
    kinds = [rutile(), rattled(rutile(), 0.5, 1), rattled(rutile(), 0.5, 2), rattled(rutile(), 0.6)]
    cells = []
    for _ in range(10):
        atoms = rattled(kinds[rng.integers(4)], 0.01, int(rng.integers(1000)))
        atoms.rotate(rng.uniform(0, 180), rng.normal(size=3), rotate_cell=True)
        cells.append(supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, 2, 1]]))
    structures = [AseAtomsAdaptor.get_structure(atoms) for atoms in cells]
    for index, structure in enumerate(structures):
        structure.properties["index"] = index
    oracle = StructureMatcher().group_structures(structures)
    expected = {frozenset(s.properties["index"] for s in group) for group in oracle}
    ours = equivalence_classes([from_atoms(a) for a in cells], np.arange(10))
    assert {frozenset(members) for members in ours} == expected


def test_supercells_are_duplicates_and_the_small_cell_stands_for_them() -> None:
    cells = [perovskite() * (2, 1, 1), perovskite(), rattled(perovskite(), 0.4)]
    crystals = [from_atoms(a) for a in cells]
    assert equivalence_classes(crystals, [-1.001, -1.0, -3.0]) == [[2], [1, 0]]
    assert equivalence_classes(crystals, [-1.1, -1.0, -3.0]) == [[2], [0, 1]]


def test_volumes_tell_crystals_apart() -> None:
    cells = [perovskite(length=length) for length in (3.9, 4.3)]
    assert len(equivalence_classes([from_atoms(a) for a in cells], [0.0, 0.0])) == 2
    assert equivalence_classes([], []) == []


# Candidates


@given(any_atoms(min_atoms=2, max_atoms=6))
def test_clashes_are_those_of_the_neighbor_list(atoms: Atoms) -> None:
    i, j, d = neighbor_list("ijd", atoms, 4.0)
    radii = covalent_radii[atoms.numbers]
    assert has_clash(from_atoms(atoms)) == bool(np.any(d < 0.6 * (radii[i] + radii[j])))


def test_candidate_carries_its_results() -> None:
    one = make_candidate(refined(perovskite() * (1, 1, 2), -1.5), n_found=3, spacegroup=("X", 7))
    assert one.formula_units == 2
    assert one.atoms.get_potential_energy() == pytest.approx(-15.0)
    assert one.atoms.get_stress().tolist() == [0.1, 0.1, 0.1, 0.0, 0.0, 0.0]
    assert one.atoms.info["n_found"] == 3
    assert one.atoms.info["spacegroup_number"] == 7
    assert not one.clash


@pytest.mark.parametrize("ending", ["cif", "extxyz", "traj", "db"])
def test_every_format_holds_the_same_crystals_in_order(ending: str, tmp_path: Path) -> None:
    cells = [perovskite(), rutile(), bulk("Cu"), perovskite("Ba")]
    labels = ["", "AB Fm-3m 225", 'say "cheese"', "a=1"]
    found = [make_candidate(refined(a, -i, labels[i])) for i, a in enumerate(cells)]
    path = tmp_path / f"found.{ending}"
    write_candidates(path, found)
    again = read_atoms(path)
    assert [str(a.symbols) for a in again] == [str(c.atoms.symbols) for c in found]
    for a, c in zip(again, found, strict=True):
        assert np.allclose(a.cell.cellpar(), c.atoms.cell.cellpar(), atol=1e-6)
        if ending != "cif":
            assert a.get_potential_energy() == pytest.approx(c.atoms.get_potential_energy())
            assert a.info["energy_per_atom"] == pytest.approx(c.energy_per_atom)
            assert a.info.get("start_label", "") == c.label


def test_table_shows_flags_and_missing_symmetry() -> None:
    atoms = perovskite()
    good = Candidate(atoms, -1.25, ("Pm-3m", 221), 7, 1, True, False, "prototype", probability=0.75)
    bad = Candidate(atoms, 0.5, ("", 0), 1, 1, False, True, "random")
    table = [" ".join(line.split()) for line in format_table([good, bad]).splitlines()]
    assert table[1] == "1 SrTiO3 1 Pm-3m (221) 0.750 -1.2500 7 prototype"
    assert table[2] == "2 SrTiO3 1 - - 0.5000 1 random clash, unconverged"


def test_ranking_drops_what_is_no_crystal(model: Path) -> None:
    priors = Priors.load(model / "priors.json")
    fine = perovskite()
    swollen = perovskite(length=8.0)
    needle = perovskite()
    needle.set_cell([1.0, 1.0, 60.0], scale_atoms=True)
    lost = refined(perovskite(), np.nan)
    ranked = rank_refined(
        [refined(swollen, -9.0), refined(fine, -1.0), lost], priors, EnergyRanking()
    )
    assert [one.head.energy_per_atom for one in ranked] == [-1.0]
    assert rank_refined([refined(needle, -5.0)], priors, EnergyRanking()) == []


def test_ranking_counts_duplicates_and_orders_by_energy(model: Path) -> None:
    priors = Priors.load(model / "priors.json")
    other = rattled(perovskite(), 0.4)
    found = [refined(perovskite(), -1.0), refined(other, -2.0), refined(perovskite(), -1.1)]
    ranked = rank_refined(found, priors, EnergyRanking())
    assert [len(one.members) for one in ranked] == [1, 2]
    assert [one.score for one in ranked] == [2.0, 1.1]


# Symmetry


@pytest.mark.parametrize("noise", [0.0, 0.008])
def test_symmetrized_cells_are_primitive_exact_and_the_same_crystal(noise: float) -> None:
    for atoms, group, n_atoms in ((perovskite(), 221, 5), (rutile(), 136, 6)):
        crystal = from_atoms(rattled(supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, 0, 2]]), noise))
        made = symmetrized(crystal)
        assert made is not None
        assert made.n_atoms == n_atoms
        assert spacegroup(made, symprec=1e-5)[1] == group
        assert made.volumes[0] / n_atoms == pytest.approx(crystal.volumes[0] / crystal.n_atoms)
        assert equivalence_classes([made, crystal], [0.0, 0.0]) == [[0, 1]]


def test_no_symmetry_and_large_strains_are_left_alone() -> None:
    assert symmetrized(from_atoms(rattled(perovskite(), 0.4))) is None
    long = perovskite()
    long.set_cell([3.905, 3.905, 4.15], scale_atoms=True)
    assert symmetrized(from_atoms(long), symprec=0.5) is None


def test_symmetry_is_taken_only_where_it_costs_nothing() -> None:
    def flat(crystals: Crystals) -> Evaluation:
        return replace(volume_well(crystals), energy=-2.0 * crystals.counts)

    found = [refined(rattled(perovskite(), 0.008), energy) for energy in (-2.0, -2.1)]
    symmetric, raw = standardized(found, flat, {5})
    assert raw is found[1]
    assert spacegroup(symmetric.crystals, symprec=1e-5)[1] == 221
    assert symmetric.energy_per_atom == -2.0
    assert symmetric.forces.shape == (5, 3)
    assert standardized(found, flat, {10}) == found
    assert make_candidate(symmetric, raw=found[0]).raw is not None
    assert make_candidate(raw).raw is None


# Sources


class Fixed:
    """A start that offers a fixed number of crystals at most."""

    def __init__(self, kind: str, most: int) -> None:
        self.kind, self.most = kind, most

    def generate(self, numbers: object, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        del numbers, rng
        return [StartCrystal(from_atoms(perovskite()), self.kind)] * min(n, self.most)


@pytest.mark.parametrize(("prototypes", "n"), [(100, 20), (2, 20), (0, 5), (100, 1), (100, 2)])
def test_mixed_search_fills_up_with_random_starts(prototypes: int, n: int) -> None:
    starts = {
        "prototype": Fixed("prototype", prototypes),
        "symmetric": Fixed("symmetric", 100),
        "random": Fixed("random", 100),
    }
    made = Sources("mixed", starts).generate([38], n, np.random.default_rng(0))
    kinds = [one.kind for one in made]
    assert len(made) == n
    if prototypes:
        assert kinds[0] == "prototype"
    if n == 20:
        assert set(kinds) == {"prototype", "symmetric", "random"}


def test_search_asks_for_prototypes_of_all_sizes_at_once(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "known")
    salts = [bulk(f, "rocksalt", a=a) for f, a in [("NaCl", 5.64), ("MgO", 4.21), ("CaO", 4.81)]]
    salts += [bulk(f, "wurtzite", a=a, c=1.63 * a) for f, a in [("ZnO", 3.25), ("ZnS", 3.8)]]
    build_library(from_atoms(salts * 2), n_fit=0).save(folder / "prototypes.npz")
    unit = parse_formula("MgS")

    def sizes(kind: str, n: int, units: list[int]) -> list[tuple[str, int]]:
        made = sources_of_model(folder, kind).search(unit, units, n, np.random.default_rng(0))
        return [(one.kind, one.crystals.n_atoms) for one in made]

    assert sorted(sizes("prototype", 8, [1, 2, 3])) == [("prototype", 2), ("prototype", 4)]
    assert {n for _, n in sizes("prototype", 8, [1])} == {2}
    # A cell that the user wants is made by repeating a smaller one.
    assert {n for _, n in sizes("prototype", 8, [3])} == {6}
    assert {n for _, n in sizes("prototype", 8, [4])} == {8}
    assert sizes("random", 5, [1, 2]) == [("random", 2)] * 3 + [("random", 4)] * 2
    mixed = sizes("mixed", 10, [1, 2])
    assert len(mixed) == 10
    assert mixed[0][0] == "prototype"
    assert sizes("mixed", 1, [1])[0][0] == "prototype"
    assert len(predict("MgS", model=folder, n_samples=6)) <= 6


def test_sources_refuse_what_a_model_cannot_do(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="start must be one of random, symmetric"):
        sources_of_model(model, "guess")
    with pytest.raises(ValueError, match="needs a model with a prototype library"):
        sources_of_model(model, "prototype")
    with pytest.raises(ValueError, match="spacegroup must be a number from 1 to 230: 231"):
        sources_of_model(model, "random", spacegroup=231)
    with pytest.raises(ValueError, match=r"holds no priors\.json"):
        sources_of_model(save_tiny_model(tmp_path / "bare", priors=False), "random")


# Sample and predict


def test_sample_keeps_order_and_composition(model: Path) -> None:
    cells = ["Sr2Ti2O6", rutile(), "Cu"]
    made = sample(cells, model=model, n_chains=2, seed=1)
    assert [a.get_chemical_formula() for a in made] == ["O6Sr2Ti2", "O4Ti2", "Cu"]
    for atoms in made:
        assert np.isfinite(atoms.get_potential_energy())
        assert atoms.info["start"] == "random"
        assert atoms.pbc.all()


def test_sample_takes_the_lowest_chain(model: Path) -> None:
    # Streams of crystals depend on their place in the batch, so more chains are other chains;
    # but the best of many is never worse on average.
    one = [sample("NaCl", model=model, n_chains=1, seed=s)[0] for s in range(6)]
    many = [sample("NaCl", model=model, n_chains=8, seed=s)[0] for s in range(6)]
    mean = [np.mean([a.get_potential_energy() for a in runs]) for runs in (one, many)]
    assert mean[1] < mean[0]


def test_sample_repeats_with_its_seed(model: Path) -> None:
    runs = [sample(["NaCl", "Cu4"], model=model, seed=s, batch_size=1) for s in (3, 3, 4)]
    assert np.array_equal(runs[0][1].positions, runs[1][1].positions)
    assert not np.allclose(runs[0][1].positions, runs[2][1].positions)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"compositions": "UO2"}, ValueError, "element U is not supported"),
        ({"compositions": "Q"}, ValueError, "formula must"),
        ({"n_chains": 0}, ValueError, "n_chains must be at least 1: 0"),
        ({"n_chains": 1.5}, TypeError, "n_chains must be a whole number"),
        ({"seed": -1}, ValueError, "seed must not be negative"),
        ({"n_steps": -1}, ValueError, "n_steps must not be negative"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"start": "guess"}, ValueError, "start must be one of"),
    ],
)
def test_sample_refuses_bad_arguments(
    model: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sample(**({"compositions": "NaCl", "model": model} | arguments))  # type: ignore[arg-type]


def _same(one: list[Candidate], other: list[Candidate]) -> bool:
    return len(one) == len(other) and all(
        a.energy_per_atom == b.energy_per_atom
        and np.array_equal(a.atoms.positions, b.atoms.positions)
        and a.spacegroup == b.spacegroup
        for a, b in zip(one, other, strict=True)
    )


def test_predict_ranks_and_repeats(model: Path) -> None:
    arguments = {"model": model, "n_samples": 4, "start": "random", "formula_units": [1, 2]}
    found = predict("NaCl", **arguments)
    energies = [c.energy_per_atom for c in found]
    assert energies == sorted(energies)
    assert 1 <= sum(c.n_found for c in found) <= 4
    assert {c.formula_units for c in found} <= {1, 2}
    assert all(len(c.trace) >= 5 for c in found)
    assert _same(found, predict("Na2Cl2", **arguments))
    assert not _same(found, predict("NaCl", seed=1, **arguments))


def test_predict_does_not_depend_on_the_executor(model: Path) -> None:
    arguments = {"model": model, "n_samples": 3, "start": "random", "formula_units": [1, 16]}
    here = predict("NaCl", **arguments)
    with ThreadPoolExecutor(2) as threads:
        assert _same(here, predict("NaCl", executor=threads, **arguments))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert _same(here, predict("NaCl", executor=processes, **arguments))


def test_predict_without_relaxation_stops_after_the_anneal(model: Path) -> None:
    arguments = {"model": model, "n_samples": 2, "start": "random", "formula_units": 1}
    assert all(len(c.trace) == 5 for c in predict("NaCl", relax=False, **arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"formula": "UO2"}, ValueError, "element U is not supported by model 'tiny'; supported"),
        ({"formula": "NaCl!"}, ValueError, "formula must"),
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"n_samples": "5"}, TypeError, "n_samples must be a whole number"),
        ({"formula_units": 0}, ValueError, "formula_units must"),
        ({"seed": 1.0}, TypeError, "seed must be a whole number"),
        ({"start": "prototype"}, ValueError, "prototype library"),
        ({"model": "nowhere"}, ValueError, "nowhere"),
    ],
)
def test_predict_refuses_bad_arguments(
    model: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        predict(**({"formula": "NaCl", "model": model} | arguments))  # type: ignore[arg-type]


def test_model_with_a_library_starts_from_prototypes(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "known", anneal={"n_steps": 2, "quench_steps": 2})
    salts = [bulk(f, "rocksalt", a=a) for f, a in [("NaCl", 5.64), ("MgO", 4.21), ("CaO", 4.81)]]
    build_library(from_atoms(salts * 3), n_fit=0).save(folder / "prototypes.npz")
    sources = sources_of_model(folder, "mixed")
    made = sources.generate(parse_formula("LiF"), 8, np.random.default_rng(0))
    assert len(made) == 8
    assert made[0].kind == "prototype"
    assert spacegroup(made[0].crystals)[1] == 225
    assert made[0].noise < 1.0
    only = sources_of_model(folder, "prototype").generate(
        parse_formula("LiF"), 8, np.random.default_rng(0)
    )
    assert {one.kind for one in only} == {"prototype"}
    found = predict("LiF", model=folder, n_samples=1, formula_units=1, start="prototype")
    assert found[0].start == "prototype"
    assert found[0].label == made[0].label
    assert found[0].distance == made[0].distance
    control = evaluate(folder, salts[:1], start="prototype", processes=1).controls
    assert control["prototype"]["match_rate"] == 1.0
