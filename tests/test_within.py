"""Searches within a space group: every operation of the start holds at the end."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import spglib
from ase.build import bulk

from ase_continuousp import predict, sample
from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.search.composition import parse_formula
from ase_continuousp.search.refine import anneal_settings, refine_starts
from ase_continuousp.search.sources import sources_of_model
from ase_continuousp.search.symmetry import spacegroup
from ase_continuousp.search.within import PrototypesWithin
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.symmetric import SymmetricStart
from tests.systems import rattled
from tests.tiny_model import save_tiny_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyxtal") is None, reason="PyXtal is not installed"
)

# Groups of all centerings, with free coordinates, angles and lengths.
CASES = [("Sr2Ti2O4", 8), ("SrTiO3", 99), ("Na2Cl2", 166), ("TiO2", 44), ("CaF2", 225)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"n_steps": 6, "quench_steps": 6}
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=settings)
    salts = [bulk(f, "rocksalt", a=a) for f, a in [("NaCl", 5.64), ("MgO", 4.21), ("CaO", 4.81)]]
    salts += [bulk(f, "wurtzite", a=a, c=1.63 * a) for f, a in [("ZnO", 3.25), ("ZnS", 3.8)]]
    build_library(from_atoms(salts * 2), n_fit=0).save(folder / "prototypes.npz")
    return folder


def violation(start: Crystals, end: Crystals) -> float:
    """Return by how many Å the operations of the start, applied to the end, miss its atoms.

    An operation turns space by R and takes atom i onto p(i), both as in the start; the turned
    cell must be the same lattice.
    """
    described = (start.cells[0], start.fractional, start.numbers)
    found = spglib.get_symmetry(described, symprec=1e-5)
    lattice, inverse = end.cells[0], np.linalg.inv(end.cells[0])
    worst = 0.0
    for w, t in zip(found["rotations"], found["translations"], strict=True):
        turned = start.fractional @ w.T + t
        apart = turned[:, None] - start.fractional[None]
        onto = np.abs(apart - np.rint(apart)).max(axis=2).argmin(axis=1)
        rotation = np.linalg.inv(start.cells[0]) @ w.T @ start.cells[0]
        basis = lattice @ rotation @ inverse
        misfit = np.abs((basis - np.rint(basis)) @ lattice).max()
        shifts = (end.positions @ rotation - end.positions[onto]) @ inverse
        shifts = shifts - shifts[0]
        misfit = max(misfit, np.abs((shifts - np.rint(shifts)) @ lattice).max())
        worst = max(worst, float(misfit))
    assert len(found["rotations"]) > 1
    return worst


def test_a_batch_of_many_space_groups_stays_in_them(model: Path) -> None:
    trained, priors = load_model(model), Priors.load(model / "priors.json")
    rng = np.random.default_rng(0)
    starts = []
    for formula, group in CASES:
        [one] = SymmetricStart(priors, spacegroup=group).generate(parse_formula(formula), 1, rng)
        assert spacegroup(one.crystals, 1e-5)[1] == group
        starts.append(one)
    settings, energy = anneal_settings(trained), trained.energy(device="cpu")
    kept, free = (
        refine_starts(energy, starts, settings, np.random.default_rng(1), keeps_symmetry=keeps)
        for keeps in (True, False)
    )
    for start, one, other in zip(starts, kept, free, strict=True):
        assert violation(start.crystals, one.crystals) < 1e-6
        assert violation(start.crystals, other.crystals) > 1e-3
        assert abs(one.crystals.volumes[0] / start.crystals.volumes[0] - 1.0) > 1e-3
        assert one.is_finite


def test_samples_are_in_the_space_group(model: Path) -> None:
    # As sample makes it for its only chain.
    sources = sources_of_model(model, "symmetric", spacegroup=166)
    numbers = parse_formula("Na2Cl2")
    [start] = sources.generate(numbers, 1, np.random.default_rng([3, 0]))
    [made] = sample("Na2Cl2", model=model, spacegroup="R-3m", seed=3)
    assert made.info["start"] == "symmetric"
    assert violation(start.crystals, from_atoms(made)) < 1e-6
    assert spacegroup(from_atoms(made), 1e-6)[1] == 166


def test_candidates_are_in_the_space_group(model: Path) -> None:
    found = predict(
        "SrTiO3", model=model, spacegroup="P4mm", n_samples=2, start="random", formula_units=1
    )
    assert found
    for one in found:
        assert one.start == "symmetric"
        for atoms in filter(None, (one.atoms, one.raw)):
            # Supergroups of P4mm with this cell.
            assert spacegroup(from_atoms(atoms), 1e-5)[1] in (99, 123, 221)


def test_mixed_searches_take_prototypes_of_the_group_first(model: Path) -> None:
    found = predict("LiF", model=model, spacegroup=225, n_samples=3, formula_units=1)
    assert sum(one.n_found for one in found) == 3
    assert {one.start for one in found} <= {"prototype", "symmetric"}
    assert {spacegroup(from_atoms(one.atoms), 1e-5)[1] for one in found} <= {225, 221}
    sources = sources_of_model(model, "mixed", spacegroup=225)
    made = sources.search(parse_formula("LiF"), [1], 3, np.random.default_rng(0))
    assert [one.kind for one in made] == ["prototype", "symmetric", "symmetric"]
    made = sources.generate(parse_formula("LiF"), 2, np.random.default_rng(0))
    assert [one.kind for one in made] == ["prototype", "symmetric"]
    with pytest.raises(ValueError, match="start='prototype' offers nothing for 'LiF' in space gro"):
        predict("LiF", model=model, spacegroup=221, start="prototype")


def test_prototypes_are_made_exact(model: Path) -> None:
    rough = [rattled(bulk("NaCl", "rocksalt", a=5.64), 1e-3, seed) for seed in range(4)]
    library = build_library(from_atoms(rough), n_fit=0)
    priors = Priors.load(model / "priors.json")
    made = PrototypesWithin(library, priors, 225).generate([12, 8], 5, np.random.default_rng(0))
    assert [spacegroup(one.crystals, 1e-8)[1] for one in made] == [225]
    assert made[0].crystals.numbers.tolist() == [12, 8]


def test_only_cells_that_the_group_allows_are_tried(model: Path) -> None:
    start = SymmetricStart(Priors.load(model / "priors.json"), spacegroup="Pnma")
    # Four is the smallest orbit.
    assert start.possible(parse_formula("TiO2"), [1, 2, 3, 4, 6, 8]) == [4, 8]
    sources = sources_of_model(model, "symmetric", spacegroup="Pnma")
    unit = parse_formula("TiO2")
    rng = np.random.default_rng(0)
    assert [s.crystals.n_atoms for s in sources.search(unit, [1, 2, 4], 1, rng)] == [12]
    assert sources.search(unit, [1, 2], 1, rng) == []


@pytest.mark.parametrize("bad", [0, 231, "Q4", 2.5, ""])
def test_unknown_space_groups_are_named(model: Path, bad: object) -> None:
    for search in (predict, sample):
        with pytest.raises(ValueError, match="spacegroup must be a number from 1 to 230"):
            search("NaCl", model=model, spacegroup=bad)  # type: ignore[operator]


def test_compositions_that_do_not_fit_are_named(model: Path) -> None:
    message = "start='random' offers nothing for 'NaCl2' in space group 227"
    with pytest.raises(ValueError, match=message):
        sample("NaCl2", model=model, spacegroup=227)
    with pytest.raises(ValueError, match=message):
        predict("NaCl2", model=model, spacegroup=227, start="random", formula_units=1)
