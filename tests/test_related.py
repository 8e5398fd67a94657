"""Random starts that are annealed as a relative of the composition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.io import from_atoms
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.search.composition import parse_formula
from ase_continuousp.search.predict import predict
from ase_continuousp.search.refine import refine_starts
from ase_continuousp.search.sources import sources_of_model
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.random import RandomStart
from ase_continuousp.starts.related import WithRelated
from tests.systems import perovskite
from tests.tiny_model import ELEMENTS, save_tiny_model

_APART = 0.3  # of the wells from 20 Å³ an atom, in log(V/N)


def library() -> PrototypeLibrary:
    salts = [bulk(f, "rocksalt", a=a) for f, a in [("NaCl", 5.64), ("MgO", 4.21), ("CaO", 4.81)]]
    return build_library(from_atoms(salts * 3), n_fit=0)


LIBRARY = library()
RANDOM = RandomStart(
    Priors.fit(from_atoms([perovskite(), perovskite("Ba"), bulk("Cu"), bulk("Si")]), n_steps=50)
)


@given(
    st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=9),
    st.integers(1, 30),
    st.floats(0.0, 0.99),
)
def test_relatives_differ_in_one_element_and_all_are_asked_for_as_they_are(
    numbers: list[int], n: int, share: float
) -> None:
    start = WithRelated(RANDOM, LIBRARY, ELEMENTS, share)
    made = start.generate(numbers, n, np.random.default_rng(0))
    assert [one.crystals.numbers.tolist() for one in made] == [numbers] * n
    related = [one for one in made if one.kind == "related"]
    assert len(related) <= share * n < len(related) + 1 or len(related) >= len(ELEMENTS) - len(
        set(numbers)
    )
    assert made[: n - len(related)] == [one for one in made if one.instead is None]
    seen = set()
    for one in related:
        assert one.instead is not None
        pairs = set(zip(numbers, one.instead.tolist(), strict=True))
        assert len(pairs) == len(set(numbers)) == len(set(one.instead.tolist()))
        assert sum(old != new for old, new in pairs) == 1
        assert set(one.instead.tolist()) <= set(ELEMENTS)
        seen.add(tuple(one.instead.tolist()))
    assert len(seen) == len(related)


def test_a_single_chain_is_of_the_composition_and_begins_where_it_would_alone() -> None:
    numbers = parse_formula("SrTiO3")
    start = WithRelated(RANDOM, LIBRARY, ELEMENTS, 0.9)
    [one] = start.generate(numbers, 1, np.random.default_rng(3))
    [alone] = RANDOM.generate(numbers, 1, np.random.default_rng(3))
    assert one.kind == "random"
    np.testing.assert_array_equal(one.crystals.positions, alone.crystals.positions)


def test_the_nearest_relatives_come_first() -> None:
    start = WithRelated(RANDOM, LIBRARY, {3, 11, 17, 19, 35, 79}, 0.5)
    made = start.generate([11, 17], 6, np.random.default_rng(0))
    others = [set(one.instead.tolist()) - {11, 17} for one in made if one.instead is not None]
    assert len(others) == 3
    assert {79} not in others


def two_wells(crystals: Crystals) -> Evaluation:
    """Return an energy with wells at log(V/20N) = ±0.3; with potassium only at +0.3."""
    a = _APART
    x = np.log(crystals.volumes / crystals.counts / 20.0)
    is_potassium = np.bincount(crystals.crystal_index, crystals.numbers == 19) > 0
    height = np.where(is_potassium, (x - a) ** 2 / 2, (x**2 - a**2) ** 2 / (8 * a**2))
    slope = np.where(is_potassium, x - a, x * (x**2 - a**2) / (2 * a**2))
    return Evaluation(
        energy=crystals.counts * height,
        energies=np.repeat(height, crystals.counts),
        forces=np.zeros((crystals.n_atoms, 3)),
        stress=(crystals.counts * slope / crystals.volumes)[:, None, None] * np.eye(3),
    )


def test_a_relative_leads_to_another_minimum_of_the_energy_asked_for() -> None:
    length = 2 * np.cbrt(20.0 * np.exp(-_APART))
    salt = from_atoms(bulk("NaCl", "rocksalt", a=length))
    potassium = np.where(salt.numbers == 11, 19, salt.numbers)
    starts = [
        StartCrystal(salt, "random", noise=0.01),
        StartCrystal(salt, "related", noise=0.01, instead=potassium),
        StartCrystal(salt, "random", noise=0.01),
    ]
    settings = AnnealSettings(
        n_steps=5, quench_steps=300, quench_step=0.5, tolerance=1e-5, lowest_level=0.01
    )
    done = refine_starts(two_wells, starts, settings, np.random.default_rng(0))
    heights = [np.log(one.crystals.volumes[0] / 40.0) for one in done]
    np.testing.assert_allclose(heights, [-_APART, _APART, -_APART], atol=0.01)
    for one, start in zip(done, starts, strict=True):
        assert one.start is start
        np.testing.assert_array_equal(one.crystals.numbers, salt.numbers)
        assert one.energy == pytest.approx(two_wells(one.crystals).energy[0], abs=1e-9)
        assert one.converged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = save_tiny_model(
        tmp_path_factory.mktemp("models") / "tiny",
        anneal={"n_steps": 2, "quench_steps": 2},
        related=0.5,
    )
    LIBRARY.save(made / "prototypes.npz")
    return made


def test_the_card_of_a_model_asks_for_relatives(folder: Path) -> None:
    sources = sources_of_model(folder, "random")
    made = sources.generate(parse_formula("SrTiO3"), 5, np.random.default_rng(0))
    assert [one.kind for one in made] == ["random"] * 3 + ["related"] * 2
    for without in (
        sources_of_model(folder, "random", spacegroup=221),
        sources_of_model(folder, "random", varied=False),
        sources_of_model(folder, "mixed"),
    ):
        made = without.generate(parse_formula("SrTiO3"), 4, np.random.default_rng(0))
        assert len(made) == 4
        assert "related" not in {one.kind for one in made}


def test_searches_and_evaluations_take_what_relatives_found(folder: Path) -> None:
    found = predict("NaCl", model=folder, n_samples=6, formula_units=1, start="random")
    assert {str(one.atoms.symbols) for one in found} == {"NaCl"}
    report = evaluate(folder, [perovskite()], k=4, processes=1, controls=False)
    [row] = report.per_structure
    assert {one.start for one in row.samples} <= {"random", "related"}


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for share in (1.0, -0.1, True, "half"):
        with pytest.raises(ValueError, match=r"share of related starts must lie in \[0, 1\)"):
            WithRelated(RANDOM, LIBRARY, ELEMENTS, share)  # type: ignore[arg-type]
    bare = save_tiny_model(tmp_path / "bare", related=0.5)
    with pytest.raises(ValueError, match=r"asks for related starts, but .* has no prototypes\.npz"):
        sources_of_model(bare, "random")
    salt = from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    with pytest.raises(ValueError, match="instead must hold a number for each of 2 atoms"):
        StartCrystal(salt, "related", instead=np.array([3]))
