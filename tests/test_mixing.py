"""Replica exchange and population annealing cross a barrier that stops a plain anneal."""

from __future__ import annotations

import numpy as np
import pytest

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.sampling import (
    AnnealPlan,
    BatchAnneal,
    Geometric,
    PopulationAnnealing,
    PositionCoordinates,
    ReplicaExchange,
    SamplerState,
    WarmUp,
)
from ase_continuousp.sampling.population import systematic
from tests.energies import TwoWells

WELLS = TwoWells()
COLD = 0.3
TEMPERATURE, STEP_SIZE = Geometric(6.0, COLD), Geometric(0.12, 0.006)
WRONG_WELL = Crystals.single([[1.0, 0.0, 0.0]], 3.0 * np.eye(3), [1])


def copies(n):
    return WRONG_WELL.select(np.zeros(n, dtype=int))


def is_right(crystals):
    return (crystals.positions[:, 0] > 0.0).astype(float)


def error_of_mean(samples):
    return samples.std(ddof=1) / np.sqrt(len(samples))


def test_a_plain_anneal_freezes_at_the_weights_of_a_higher_temperature():
    plan = AnnealPlan(300, TEMPERATURE, STEP_SIZE, WarmUp(), (1.0, 1000.0))
    anneal = BatchAnneal(plan, PositionCoordinates())
    end = anneal.run(WELLS, copies(400), np.random.default_rng(0))
    share = is_right(end.state.crystals)
    assert share.mean() - WELLS.right_share(COLD) > 6.0 * error_of_mean(share)


def test_replica_exchange_has_the_weights_of_the_coldest_temperature():
    ladder = ReplicaExchange(300, 6, TEMPERATURE, STEP_SIZE, PositionCoordinates())
    start = ladder.start(WELLS, copies(300), np.random.default_rng(0))
    n_tried = n_swapped = np.zeros((300, 5), dtype=int)
    for state, record in ladder.steps(start, WELLS):
        n_tried = n_tried + record.is_tried
        n_swapped = n_swapped + record.is_swapped
        end = state
    share = is_right(ladder.coldest(end))
    assert abs(share.mean() - WELLS.right_share(COLD)) < 4.0 * error_of_mean(share)
    # Every rung keeps the law of its own temperature.
    others = end.crystals.positions[:, 1].reshape(-1, 6)
    for rung, temperature in enumerate(ladder.temperatures):
        squares = WELLS.spring * others[:, rung] ** 2
        assert abs(squares.mean() - temperature) < 4.0 * error_of_mean(squares)
    assert np.all(n_tried.sum(axis=0) == 300 * 150)
    assert np.all(n_swapped.sum(axis=0) > 0.2 * n_tried.sum(axis=0))


def test_exchange_keeps_detailed_balance():
    # exp(−E/T) weights times acceptance are symmetric, counted over many draws of one pair.
    ladder = ReplicaExchange(1, 2, Geometric(1.0, 0.5), STEP_SIZE, PositionCoordinates())
    low = Crystals.single([[-1.0, 0.0, 0.0]], 3.0 * np.eye(3), [1])
    high = Crystals.single([[0.7, 0.1, 0.0]], 3.0 * np.eye(3), [1])
    n, rates = 4000, []
    for pair in ((low, high), (high, low)):
        start = Crystals.concatenate(list(pair)).select(np.tile([0, 1], n))
        state = SamplerState.start(start, WELLS, np.random.default_rng(1))
        _, is_swapped = ladder.exchange(state, np.ones((n, 1), dtype=bool))
        rates.append(is_swapped.mean())
    energy = WELLS(Crystals.concatenate([low, high])).energy
    expected = float(np.exp(-(energy[1] - energy[0]) * (1.0 / 0.5 - 1.0)))
    assert rates[0] == 1.0  # the colder place for the lower energy: always
    assert abs(rates[1] - expected) < 4.0 * np.sqrt(expected / n)


def test_counts_and_step_sizes_stay_on_their_rung():
    ladder = ReplicaExchange(1, 2, Geometric(1.0, 0.5), STEP_SIZE, PositionCoordinates())
    pair = Crystals.single([[1.0, 0.1, 0.0]], 3.0 * np.eye(3), [1]), WRONG_WELL
    start = Crystals.concatenate([pair[1], pair[0]])
    state = SamplerState.start(start, WELLS, np.random.default_rng(0))
    energies = state.evaluation.energy
    state, is_swapped = ladder.exchange(
        SamplerState(
            state.crystals,
            state.evaluation,
            state.random,
            5,
            np.array([3, 4]),
            np.array([0.5, 0.25]),
        ),
        np.ones((1, 1), dtype=bool),
    )
    assert state.accepted.tolist() == [3, 4]
    assert state.scale.tolist() == [0.5, 0.25]
    expected = energies[::-1] if is_swapped.all() else energies
    assert np.array_equal(state.evaluation.energy, expected)
    assert np.array_equal(WELLS(state.crystals).energy, state.evaluation.energy)


def test_population_annealing_has_the_weights_of_the_last_temperature():
    annealing = PopulationAnnealing(150, 12, 25, TEMPERATURE, STEP_SIZE, PositionCoordinates())
    end = annealing.run(WELLS, copies(8), np.random.default_rng(0))
    assert end.state.step == annealing.n_steps == 300
    shares = is_right(end.state.crystals).reshape(8, 150).mean(axis=1)
    assert abs(shares.mean() - WELLS.right_share(COLD)) < 4.0 * error_of_mean(shares)
    expected = WELLS.log_z(COLD) - WELLS.log_z(TEMPERATURE.first)
    assert abs(end.log_ratio.mean() - expected) < 4.0 * error_of_mean(end.log_ratio) + 0.02
    assert all(1 < len(set(family)) <= 150 for family in end.family.tolist())


@pytest.mark.parametrize("kind", ["exchange", "population"])
def test_a_run_cut_in_two_is_the_run_in_one(kind):
    if kind == "exchange":
        sampler = ReplicaExchange(9, 3, TEMPERATURE, STEP_SIZE, PositionCoordinates(), interval=2)
    else:
        sampler = PopulationAnnealing(5, 3, 3, TEMPERATURE, STEP_SIZE, PositionCoordinates())
    start = sampler.start(WELLS, copies(2), np.random.default_rng(3))
    kept = [reached for reached, _ in sampler.steps(start, WELLS)]
    assert len(kept) == 9
    for cut in (2, 5):
        *_, (again, _) = sampler.steps(kept[cut], WELLS)
        ends = [getattr(end, "state", end) for end in (again, kept[-1])]
        assert np.array_equal(ends[0].crystals.positions, ends[1].crystals.positions)
        assert ends[0].random == ends[1].random


def test_crystals_of_several_compositions_keep_to_themselves():
    def springs(crystals):
        energies = 0.5 * crystals.numbers * np.sum(crystals.positions**2, axis=1)
        total = np.add.reduceat(energies, crystals.offsets[:-1])
        forces = -crystals.numbers[:, None] * crystals.positions
        return Evaluation(total, energies, forces, np.zeros((crystals.n_crystals, 3, 3)))

    both = Crystals.concatenate(
        [
            Crystals.single(np.zeros((1, 3)), 3.0 * np.eye(3), [1]),
            Crystals.single(np.zeros((2, 3)), 3.0 * np.eye(3), [2, 3]),
        ]
    )
    rng = np.random.default_rng(0)
    ladder = ReplicaExchange(20, 3, Geometric(2.0, 1.0), STEP_SIZE, PositionCoordinates())
    assert ladder.coldest(ladder.run(springs, both, rng)).numbers.tolist() == [1, 2, 3]
    annealing = PopulationAnnealing(4, 3, 2, Geometric(2.0, 1.0), STEP_SIZE, PositionCoordinates())
    numbers = annealing.run(springs, both, rng).state.crystals.numbers
    assert numbers.tolist() == [1] * 4 + [2, 3] * 4


def test_systematic_resampling_draws_by_weight():
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=20)
    expected = 20 * weights / weights.sum()
    counts = np.array(
        [np.bincount(systematic(weights, u), minlength=20) for u in (np.arange(500) + 0.5) / 500]
    )
    assert np.all((counts == np.floor(expected)) | (counts == np.ceil(expected)))
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=5e-3)
    assert systematic([0.0, 1.0, 0.0], 1.0 - 1e-16).tolist() == [1, 1, 1]


def test_a_chain_without_energy_is_dropped():
    annealing = PopulationAnnealing(3, 2, 1, Geometric(2.0, 1.0), STEP_SIZE, PositionCoordinates())
    start = annealing.start(WELLS, copies(1), np.random.default_rng(0))
    broken = np.array([np.nan, *start.state.evaluation.energy[1:]])
    evaluation = start.state.evaluation
    evaluation = Evaluation(broken, evaluation.energies, evaluation.forces, evaluation.stress)
    state = SamplerState(
        start.state.crystals,
        evaluation,
        start.state.random,
        1,
        start.state.accepted,
        start.state.scale,
    )
    drawn = annealing.resample(type(start)(state, start.family, start.log_ratio), 2.0, 1.0)
    assert np.isfinite(drawn.state.evaluation.energy).all()
    assert 0 not in drawn.family
    assert np.isfinite(drawn.log_ratio).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ReplicaExchange(5, 1, TEMPERATURE, STEP_SIZE), "n_temperatures must be at least"),
        (lambda: ReplicaExchange(0, 2, TEMPERATURE, STEP_SIZE), "n_steps must be positive: 0"),
        (lambda: PopulationAnnealing(0, 2, 2, TEMPERATURE, STEP_SIZE), "size must be positive: 0"),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
