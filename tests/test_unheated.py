"""Chains that are not heated again, for variety."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.io import from_atoms
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.search.composition import parse_formula
from ase_continuousp.search.predict import predict
from ase_continuousp.search.refine import refine_starts
from ase_continuousp.search.sources import sources_of_model
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.random import RandomStart
from ase_continuousp.starts.unheated import WithUnheated
from tests.tiny_model import save_tiny_model

RANDOM = RandomStart(Priors.fit(from_atoms([bulk("Cu"), bulk("Si")] * 2), n_steps=50))


@given(st.integers(1, 30), st.floats(0.0, 0.99))
def test_a_share_is_not_heated_again_and_begins_where_it_would_anyway(n: int, share: float) -> None:
    made = WithUnheated(RANDOM, share).generate([14, 14], n, np.random.default_rng(0))
    alone = RANDOM.generate([14, 14], n, np.random.default_rng(0))
    assert [one.is_reheated for one in alone] == [True] * n
    flags = [one.is_reheated for one in made]
    assert flags == sorted(flags, reverse=True)
    assert flags[0]
    assert flags.count(False) <= share * n < flags.count(False) + 1
    for one, other in zip(made, alone, strict=True):
        np.testing.assert_array_equal(one.crystals.positions, other.crystals.positions)


def ramp(crystals: Crystals) -> Evaluation:
    """Return an energy with a well at log(V/20N) = 0."""
    x = np.log(crystals.volumes / crystals.counts / 20.0)
    return Evaluation(
        energy=crystals.counts * x**2 / 2,
        energies=np.repeat(x**2 / 2, crystals.counts),
        forces=np.zeros((crystals.n_atoms, 3)),
        stress=(crystals.counts * x / crystals.volumes)[:, None, None] * np.eye(3),
    )


def test_each_is_heated_as_often_as_it_asks_for() -> None:
    salt = from_atoms(bulk("NaCl", "rocksalt", a=5.3))
    starts = [
        StartCrystal(salt, "random", noise=0.1, is_reheated=False),
        StartCrystal(salt, "random", noise=0.1),
        StartCrystal(salt, "prototype", noise=0.0),
        StartCrystal(salt, "random", noise=0.1, is_reheated=False),
    ]
    settings = AnnealSettings(n_steps=4, quench_steps=2, reheats=3, reheat_steps=5)
    done = refine_starts(ramp, starts, settings, np.random.default_rng(0))
    assert [one.start for one in done] == starts
    once, often = len(done[0].trace), len(done[1].trace)
    assert len(done[3].trace) == once
    assert once <= 1 + 4 + 2
    assert often >= once + 3 * 5  # three times five noisy steps more
    assert not np.array_equal(done[0].crystals.cells, done[3].crystals.cells)


def test_the_card_of_a_model_asks_for_them(tmp_path: Path) -> None:
    folder = save_tiny_model(
        tmp_path / "tiny",
        anneal={"n_steps": 2, "quench_steps": 2, "reheats": 1, "reheat_steps": 2},
        unheated=0.5,
    )
    numbers = parse_formula("SrTiO3")
    made = sources_of_model(folder, "random").generate(numbers, 5, np.random.default_rng(0))
    assert [one.is_reheated for one in made] == [True] * 3 + [False] * 2
    for without in (
        sources_of_model(folder, "random", varied=False),
        sources_of_model(folder, "mixed"),
    ):
        made = without.starts["random"].generate(numbers, 4, np.random.default_rng(0))
        assert [one.is_reheated for one in made] == [True] * 4
    assert predict("NaCl", model=folder, n_samples=4, formula_units=1, start="random")


@pytest.mark.parametrize("share", [1.0, -0.1, True, "half"])
def test_what_cannot_be_is_refused(share: object) -> None:
    with pytest.raises(ValueError, match=r"share of unheated starts must lie in \[0, 1\)"):
        WithUnheated(RANDOM, share)  # type: ignore[arg-type]
