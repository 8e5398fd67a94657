"""Samples that stand for many ends: the best choice there is, whatever the order."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.evaluation.representatives import representatives
from ase_continuousp.io import write_atoms
from tests.systems import perovskite
from tests.tiny_model import save_tiny_model

energies = st.floats(-10, 10) | st.sampled_from([-1.0, 0.0, 1.0])


def distance(values: list[float], chosen: list[int] | tuple[int, ...]) -> float:
    x = np.array(values)
    return float(np.abs(x[:, None] - x[list(chosen)]).min(axis=1).sum())


@given(st.lists(energies, min_size=1, max_size=7), st.integers(1, 7))
def test_no_choice_is_better(values: list[float], n: int) -> None:
    chosen = representatives(values, n)
    size = min(n, len(values))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == size
    best = min(distance(values, other) for other in combinations(range(len(values)), size))
    assert distance(values, chosen) <= best + 1e-9


@given(st.lists(energies, min_size=1, max_size=40), st.integers(1, 8), st.randoms())
def test_order_and_origin_do_not_matter(values: list[float], n: int, random: object) -> None:
    shuffled = [v + 1000.0 for v in values]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    here, there = (distance(v, representatives(v, n)) for v in (values, shuffled))
    assert here == pytest.approx(there, abs=1e-8)


@given(st.lists(energies, min_size=1, max_size=40))
def test_every_basin_is_kept_where_there_is_room(values: list[float]) -> None:
    basins = set(values)
    assert {values[i] for i in representatives(values, len(basins))} == basins


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="n must be at least 1: 0"):
        representatives([1.0], 0)
    with pytest.raises(ValueError, match="energies must be finite"):
        representatives([1.0, float("nan")], 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"n_steps": 3, "quench_steps": 3}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=settings)


def test_evaluation_takes_the_samples_that_stand_for_all_chains(
    model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test.extxyz"
    write_atoms(path, [perovskite(), perovskite("Ba")])
    everything = evaluate(model, path, k=6, processes=1)
    some = evaluate(model, path, k=2, n_chains=3, choose="spread", processes=1)
    assert "chains 3 (spread)" in some.summary()
    assert some.to_dict()["choose"] == "spread"
    for whole, part in zip(everything.per_structure, some.per_structure, strict=True):
        found = [sample.energy_per_atom for sample in whole.samples]
        chosen = [sample.energy_per_atom for sample in part.samples]
        assert len(chosen) == 2
        expected = sorted(found[i] for i in representatives(found, 2))
        assert sorted(chosen) == pytest.approx(expected, abs=1e-5)


def test_one_chain_each_leaves_nothing_to_choose(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.extxyz"
    write_atoms(path, [perovskite()])
    one, two = (evaluate(model, path, k=3, choose=c, processes=1) for c in ("lowest", "spread"))
    assert one.per_structure == two.per_structure


def test_unknown_choice_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose must be one of lowest, spread: 'best'"):
        evaluate(model, tmp_path / "none.csv", choose="best")
