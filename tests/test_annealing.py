"""The short anneal: it finds the minimum of a solvable energy, batch or single, and says so."""

from dataclasses import replace

import numpy as np
import pytest

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.io import from_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.sampling.annealing import AnnealSettings, anneal
from ase_continuousp.search.refine import anneal_settings
from tests.systems import system

TARGET = 2.7  # ℓ of the minimum [Å]


class Bowl:
    """Σ (k/2)(log ℓ/ℓ₀)² N + Σ_pairs exp(−r²/2w²) of nearest images: volume and repulsion."""

    def __init__(self, stiffness=3.0, limit=None):
        self.stiffness, self.limit, self.calls = stiffness, limit, 0

    def __call__(self, crystals):
        self.calls += 1
        n = crystals.counts
        log = np.log(crystals.lengths / TARGET)
        energy = 0.5 * self.stiffness * log**2 * n
        # d log ℓ / dε = 1/3 of the identity
        stress = (self.stiffness * log * n / 3 / crystals.volumes)[:, None, None] * np.eye(3)
        if self.limit is not None:
            energy = np.where(crystals.lengths > self.limit, np.nan, energy)
        per_atom = (energy / n)[crystals.crystal_index]
        return Evaluation(energy, per_atom, np.zeros((crystals.n_atoms, 3)), stress)


class Washboard(Bowl):
    """The bowl with ripples: minima at every multiple of `period` in log ℓ, the lowest at ℓ₀."""

    period, depth = 0.08, 0.04

    def __call__(self, crystals):
        found = super().__call__(crystals)
        wave = 2 * np.pi / self.period
        phase = wave * np.log(crystals.lengths / TARGET)
        n = crystals.counts
        energy = found.energy - self.depth * np.cos(phase) * n
        slope = self.depth * wave * np.sin(phase) * n / 3 / crystals.volumes
        return Evaluation(
            energy,
            (energy / n)[crystals.crystal_index],
            found.forces,
            found.stress + slope[:, None, None] * np.eye(3),
        )


def wells(crystals):
    """Return how many ripples each crystal is away from the lowest minimum."""
    away = np.log(crystals.lengths / TARGET) / Washboard.period
    return np.abs(np.rint(away)).astype(int)


def batch():
    return from_atoms([system(n) for n in ("rutile", "one_atom", "skewed", "perovskite")])


def test_quench_reaches_the_minimum_and_reports_it():
    settings = AnnealSettings(n_steps=20, quench_steps=400, quench_step=2.0, tolerance=1e-5)
    done = anneal(Bowl(), batch(), settings, np.random.default_rng(0))
    assert done.converged.all()
    np.testing.assert_allclose(done.crystals.lengths, TARGET, rtol=1e-3)
    np.testing.assert_allclose(
        done.trace[-1], done.evaluation.energy / done.crystals.counts, atol=1e-9
    )


def test_unfinished_quench_is_not_called_converged():
    settings = AnnealSettings(n_steps=0, quench_steps=1, tolerance=1e-9)
    done = anneal(Bowl(), batch(), settings, np.random.default_rng(0))
    assert not done.converged.any()
    assert done.trace.shape == (2, 4)


def test_path_of_a_crystal_does_not_depend_on_those_after_it():
    settings = AnnealSettings(n_steps=10, quench_steps=0)
    many = anneal(Bowl(), batch(), settings, np.random.default_rng(3))
    few = anneal(Bowl(), batch().select([0, 1]), settings, np.random.default_rng(3))
    np.testing.assert_allclose(many.crystals.select([0, 1]).cells, few.crystals.cells, atol=1e-12)
    np.testing.assert_allclose(
        many.crystals.select([0, 1]).positions, few.crystals.positions, atol=1e-12
    )


def test_same_seed_same_crystals():
    runs = [anneal(Bowl(), batch(), AnnealSettings(), np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].crystals.positions, runs[1].crystals.positions)


def test_without_noise_a_crystal_is_only_quenched():
    settings = AnnealSettings(n_steps=10, quench_steps=0)
    start = batch()
    done = anneal(Bowl(), start, settings, np.random.default_rng(0), noise=[0, 0.3, 0, 0.3])
    np.testing.assert_allclose(done.crystals.volumes[[0, 2]], start.volumes[[0, 2]], rtol=1e-12)
    assert np.all(np.abs(done.crystals.volumes[[1, 3]] / start.volumes[[1, 3]] - 1) > 1e-6)


REHEATED = AnnealSettings(
    n_steps=5, level=0.05, quench_steps=60, quench_step=0.02, reheats=6, reheat_steps=10
)


def test_reheating_finds_lower_minima():
    cube = Crystals.single(np.zeros((1, 3)), 1.3 * TARGET * np.eye(3), [84])
    start = Crystals.concatenate([cube] * 60)
    ends = {
        reheats: anneal(
            Washboard(), start, replace(REHEATED, reheats=reheats), np.random.default_rng(0)
        )
        for reheats in (0, 1, 6)
    }
    energies = [ends[n].evaluation.energy for n in (0, 1, 6)]
    # The same seed is the same path up to the first reheating, and only what is lower is kept.
    assert np.all(energies[1] <= energies[0] + 1e-9)
    assert np.all(energies[2] <= energies[1] + 1e-9)
    found = [np.mean(wells(ends[n].crystals) == 0) for n in (0, 6)]
    assert found[0] < 0.5 < found[1]
    assert ends[6].converged.all()
    np.testing.assert_allclose(ends[6].trace[-1], ends[6].evaluation.energy, atol=1e-9)


def test_reheated_paths_do_not_depend_on_those_after_them():
    many = anneal(Washboard(), batch(), REHEATED, np.random.default_rng(3))
    few = anneal(Washboard(), batch().select([0, 1]), REHEATED, np.random.default_rng(3))
    np.testing.assert_allclose(many.crystals.select([0, 1]).cells, few.crystals.cells, atol=1e-9)


def test_what_is_only_quenched_is_not_reheated():
    start = batch()
    noise = [0.0, 0.2, 0.0, 0.2]
    ends = [
        anneal(
            Washboard(), start, replace(REHEATED, reheats=n), np.random.default_rng(0), noise=noise
        ).crystals.volumes
        for n in (0, 6)
    ]
    np.testing.assert_array_equal(ends[0][[0, 2]], ends[1][[0, 2]])
    assert np.any(np.abs(ends[0] - ends[1])[[1, 3]] > 1e-3)


def test_steps_are_limited_and_energies_without_value_stop_a_crystal():
    settings = AnnealSettings(n_steps=0, quench_steps=3, quench_step=1e6, largest=0.1)
    start = batch()
    first = anneal(
        Bowl(),
        start,
        AnnealSettings(n_steps=0, quench_steps=1, quench_step=1e6, largest=0.1),
        np.random.default_rng(0),
    )
    strain = np.abs(np.log(first.crystals.volumes / start.volumes))
    assert np.all(strain <= 0.1 * settings.strain_scale * np.sqrt(3) + 1e-9)
    stuck = anneal(Bowl(limit=0.1), start, settings, np.random.default_rng(0))
    assert not stuck.converged.any()
    np.testing.assert_allclose(stuck.crystals.volumes, start.volumes)


def test_cells_come_back_reduced_and_atoms_inside():
    start = from_atoms(system("obscure_basis"))
    done = anneal(
        Bowl(), start, AnnealSettings(n_steps=0, quench_steps=0), np.random.default_rng(0)
    )
    assert np.linalg.norm(done.crystals.cells[0], axis=1).max() < 4.7
    fractional = done.crystals.fractional
    assert fractional.min() > -1e-12
    assert fractional.max() < 1 + 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": -1}, "n_steps must not be negative: -1"),
        ({"reheats": -1}, "reheats must not be negative: -1"),
        ({"step": 0.0}, "step must lie between 0 and 2: 0.0"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        AnnealSettings(**changes)


def test_batch_of_one_is_a_batch():
    one = Crystals.single(np.zeros((1, 3)), 3 * np.eye(3), [84])
    assert anneal(Bowl(), one, AnnealSettings(), np.random.default_rng(0)).crystals.n_crystals == 1


def test_models_are_reheated_unless_steps_are_given_or_nothing_is_quenched():
    model = load_model("mp20")
    assert anneal_settings(model).reheats > 0
    short = anneal_settings(model, n_steps=5)
    assert (short.n_steps, short.reheats) == (5, 0)
    raw = anneal_settings(model, relax=False)
    assert (raw.quench_steps, raw.reheats) == (0, 0)
