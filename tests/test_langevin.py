"""The Langevin step: detailed balance, stationary laws, invariance, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from ase_continuousp import lattice
from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.sampling import (
    Displacement,
    FlatCoordinates,
    PositionCoordinates,
    ProjectedCoordinates,
    SamplerState,
    StrainCoordinates,
    langevin,
)
from tests.energies import EinsteinCrystal, PeriodicPair
from tests.flow import TEMPERATURE, Scripted, flow_asymmetry, reversed_drift
from tests.lattices import BASIS, other_description, random_crystals

KINDS = [PositionCoordinates(), StrainCoordinates(), StrainCoordinates(1.3), FlatCoordinates()]
PINNED = StrainCoordinates(fixed=np.tile([True, False, False], 4))


@pytest.mark.parametrize("coordinates", [*KINDS, PINNED], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_detailed_balance(coordinates, seed):
    asymmetry = flow_asymmetry(coordinates, PeriodicPair(), seed)
    np.testing.assert_allclose(asymmetry, 0.0, atol=1e-10)


def test_detailed_balance_fails_with_the_drift_reversed(monkeypatch):
    # The slip of the official code. A test that let it pass would prove nothing.
    monkeypatch.setattr(langevin, "log_proposal", reversed_drift)
    for coordinates in KINDS:
        assert np.abs(flow_asymmetry(coordinates, PeriodicPair(), 0)).max() > 1e-2


@pytest.mark.parametrize("coordinates", KINDS, ids=str)
def test_detailed_balance_when_every_proposal_is_described_anew(coordinates):
    rng = np.random.default_rng(3)
    there, back = other_description(BASIS, rng.integers(-1, 2, size=(12, 3)).astype(float))
    asymmetry = flow_asymmetry(coordinates, PeriodicPair(reach=9), 1, there, back)
    np.testing.assert_allclose(asymmetry, 0.0, atol=1e-10)


@pytest.mark.parametrize("coordinates", [*KINDS, PINNED], ids=str)
def test_slope_is_the_derivative_of_the_energy_along_a_move(coordinates):
    rng = np.random.default_rng(0)
    energy, crystals = PeriodicPair(), random_crystals(rng)
    slope = coordinates.slope(crystals, energy(crystals))
    for _ in range(5):
        direction = coordinates.noise(crystals, rng)
        h = 1e-5
        up = energy(coordinates.move(crystals, direction.scaled(h, crystals))).energy
        down = energy(coordinates.move(crystals, direction.scaled(-h, crystals))).energy
        expected = (up - down) / (2.0 * h)
        np.testing.assert_allclose(slope.dot(direction, crystals), expected, rtol=1e-7, atol=1e-7)


def symmetric_basis():
    basis = []
    for i in range(3):
        for j in range(i, 3):
            matrix = np.zeros((3, 3))
            matrix[i, j] = matrix[j, i] = 1.0 if i == j else np.sqrt(0.5)
            basis.append(matrix)
    return np.array(basis)


def test_strain_moves_keep_the_invariant_measure():
    # |∂(L′, f′, −y)/∂(L, f, y)| · (V/V′)³ = 1: the map and its measure dL/V³ df dy, by
    # central differences, so that no formula of the package is trusted.
    rng = np.random.default_rng(5)
    n, basis, coordinates = 2, symmetric_basis(), StrainCoordinates(1.7)
    template = random_crystals(rng, 1, n)

    def advance(x):
        crystals = template.with_fractional(x[9 : 9 + 3 * n].reshape(n, 3), x[:9].reshape(1, 3, 3))
        y = x[9 + 3 * n :]
        step = Displacement(
            y[: 3 * n].reshape(n, 3), np.einsum("k,kxy->xy", y[3 * n :], basis)[None]
        )
        moved = coordinates.move(crystals, step)
        return np.concatenate([moved.cells.ravel(), moved.fractional.ravel(), -y])

    y = 0.3 * rng.standard_normal(3 * n + 6)
    x = np.concatenate([template.cells.ravel(), template.fractional.ravel(), y])
    h = 1e-5
    unit = np.eye(len(x))
    jacobian = np.array([(advance(x + h * e) - advance(x - h * e)) / (2 * h) for e in unit])
    after = lattice.volume(advance(x)[:9].reshape(3, 3))
    factor = abs(np.linalg.det(jacobian)) * (template.volumes[0] / after) ** 3
    assert factor == pytest.approx(1.0, abs=1e-8)


def test_noise_is_isotropic_in_the_frobenius_norm():
    crystals = random_crystals(np.random.default_rng(0), 20_000, 1)
    cells = StrainCoordinates().noise(crystals, np.random.default_rng(1)).cells
    assert np.array_equal(cells, np.swapaxes(cells, 1, 2))
    along = np.einsum("bxy,kxy->bk", cells, symmetric_basis())
    covariance = along.T @ along / len(along)
    np.testing.assert_allclose(covariance, np.eye(6), atol=4.0 * np.sqrt(2.0 / len(along)))


def sampled(energy, coordinates, start, *, temperature, step_size, n_steps, seed=0):
    state = SamplerState.start(start, energy, np.random.default_rng(seed))
    for _ in range(n_steps):
        state, _ = langevin.step(
            state, energy, coordinates, temperature=temperature, step_size=step_size
        )
    assert 0.3 < state.accepted.mean() / n_steps < 0.95
    return state


def assert_mean(samples, expected):
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - expected) < 4.0 * error, (samples.mean(), expected, error)


def assert_variance(samples, expected):
    squares = (samples - samples.mean()) ** 2
    assert_mean(squares, expected)


def shape_expectation(strength, temperature):
    """Mean of tr(L Lᵀ)/V^(2/3) under the Haar measure, by the polar decomposition.

    L = k exp(a) k′ has the density Π sinh|aᵢ − aⱼ| da in its logarithmic singular values.
    """
    grid = np.linspace(-2.5, 2.5, 801)
    a, b = np.meshgrid(grid, grid)
    c = -a - b
    trace = np.exp(2 * a) + np.exp(2 * b) + np.exp(2 * c)
    weight = np.abs(np.sinh(a - b) * np.sinh(b - c) * np.sinh(a - c))
    weight = weight * np.exp(-strength * (trace - 3.0) / temperature)
    return float((trace * weight).sum() / weight.sum())


@pytest.mark.parametrize(
    ("coordinates", "power"), [(StrainCoordinates(), -2.0), (FlatCoordinates(), 3.0)], ids=str
)
def test_stationary_law_of_a_harmonic_crystal_with_a_movable_cell(coordinates, power):
    # Springs integrate to a constant in dr = V^N df, so log V is normal with variance T/K and
    # mean p T/K: p = −N in the invariant measure dL/V³ df, and p = 3 in the paper's dL dr.
    energy = EinsteinCrystal(sites=np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]))
    n, temperature = 1000, 0.5
    one = Crystals.single(
        np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]) * np.cbrt(40.0),
        np.cbrt(40.0) * np.eye(3),
        [1, 1],
    )
    start = one.select(np.zeros(n, dtype=int))
    state = sampled(energy, coordinates, start, temperature=temperature, step_size=0.05, n_steps=60)
    crystals = state.crystals
    log_volume = np.log(crystals.volumes / energy.volume)
    assert_mean(log_volume, power * temperature / energy.bulk)
    assert_variance(log_volume, temperature / energy.bulk)
    off = crystals.positions - np.einsum(
        "ax,axy->ay", np.tile(energy.sites, (n, 1)), crystals.cells[crystals.crystal_index]
    )
    for column in off.reshape(n, -1).T:
        assert_mean(column, 0.0)
        assert_variance(column, temperature / energy.spring)
    squares = np.sum(crystals.cells**2, axis=(1, 2)) * crystals.volumes ** (-2.0 / 3.0)
    assert_mean(squares, shape_expectation(energy.shape, temperature))


def test_weights_of_two_wells():
    def wells(crystals):
        x = crystals.positions[:, 0]
        energy = 2.0 * (x**2 - 1.0) ** 2 + 0.4 * x
        others = crystals.positions[:, 1:]
        force = np.column_stack([-8.0 * x * (x**2 - 1.0) - 0.4, -others])
        energy = energy + 0.5 * np.sum(others**2, axis=1)
        return Evaluation(energy, energy, force, np.zeros((crystals.n_crystals, 3, 3)))

    temperature = 0.7

    def weight(x):
        return np.exp(-(2.0 * (x**2 - 1.0) ** 2 + 0.4 * x) / temperature)

    expected = quad(weight, 0.0, 4.0)[0] / quad(weight, -4.0, 4.0)[0]
    start = Crystals.single([[1.0, 0.0, 0.0]], np.eye(3), [1]).select(np.zeros(1000, dtype=int))
    state = sampled(
        wells, PositionCoordinates(), start, temperature=temperature, step_size=0.15, n_steps=250
    )
    assert_mean((state.crystals.positions[:, 0] > 0.0).astype(float), expected)


@pytest.mark.parametrize("coordinates", KINDS, ids=str)
def test_acceptance_tends_to_one_as_the_step_tends_to_zero(coordinates):
    energy = PeriodicPair()
    start = SamplerState.start(
        random_crystals(np.random.default_rng(0)), energy, np.random.default_rng(1)
    )
    refused = []
    for step_size in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        state, total = start, 0.0
        for _ in range(10):
            state, record = langevin.step(
                state, energy, coordinates, temperature=TEMPERATURE, step_size=step_size
            )
            total += float(np.mean(1.0 - record.acceptance)) / 10
        refused.append(total)
    assert refused[-1] < 1e-4
    assert all(later < 0.5 * earlier for earlier, later in pairwise(refused))


def test_a_run_cut_in_two_is_the_run_in_one():
    energy = PeriodicPair()
    state = SamplerState.start(
        random_crystals(np.random.default_rng(0)), energy, np.random.default_rng(1)
    )
    kept = []
    for _ in range(6):
        kept.append(state)
        state, _ = langevin.step(
            state, energy, StrainCoordinates(), temperature=1.0, step_size=0.01
        )
    again = kept[3]
    for _ in range(3):
        again, _ = langevin.step(
            again, energy, StrainCoordinates(), temperature=1.0, step_size=0.01
        )
    assert np.array_equal(again.crystals.positions, state.crystals.positions)
    assert np.array_equal(again.crystals.cells, state.crystals.cells)
    assert again.random == state.random


def test_strain_moves_do_not_depend_on_the_description():
    rng = np.random.default_rng(2)
    energy = PeriodicPair(reach=8)
    crystals = random_crystals(rng, 2)
    there, _ = other_description(BASIS, rng.integers(-1, 2, size=(6, 3)).astype(float))
    runs = []
    for start in (crystals, there(crystals)):
        state = SamplerState.start(start, energy, np.random.default_rng(9))
        energies = []
        for _ in range(15):
            state, _ = langevin.step(
                state, energy, StrainCoordinates(), temperature=1.0, step_size=0.3
            )
            energies.append(state.evaluation.energy)
        assert 0 < state.accepted.sum() < 30
        runs.append(energies)
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-8)


def test_strain_moves_turn_with_the_crystal():
    rng = np.random.default_rng(4)
    crystals = random_crystals(rng)
    turn = Rotation.random(random_state=0).as_matrix()
    step = StrainCoordinates().noise(crystals, rng)
    turned = replace(crystals, positions=crystals.positions @ turn.T, cells=crystals.cells @ turn.T)
    turned_step = Displacement(step.atoms @ turn.T, turn @ step.cells @ turn.T)
    moved = StrainCoordinates().move(crystals, step)
    np.testing.assert_allclose(
        StrainCoordinates().move(turned, turned_step).positions,
        moved.positions @ turn.T,
        atol=1e-12,
    )


def test_crystals_of_a_batch_do_not_see_each_other():
    energy = PeriodicPair()
    crystals = random_crystals(np.random.default_rng(0), 3)
    noise = StrainCoordinates().noise(crystals, np.random.default_rng(1))
    state = SamplerState.start(crystals, energy, np.random.default_rng(2))
    whole = Scripted(StrainCoordinates(), given=noise)
    _, together = langevin.step(state, energy, whole, temperature=1.0, step_size=0.02)
    for b in range(3):
        part = Displacement(noise.atoms[3 * b : 3 * b + 3], noise.cells[b : b + 1])
        alone = Scripted(StrainCoordinates(), given=part)
        _, record = langevin.step(state.select([b]), energy, alone, temperature=1.0, step_size=0.02)
        np.testing.assert_allclose(record.acceptance, together.acceptance[[b]], rtol=1e-12)


def test_select_repeats_and_orders_chains():
    state = SamplerState.start(
        random_crystals(np.random.default_rng(0), 3), PeriodicPair(), np.random.default_rng(0)
    )
    chosen = state.select([2, 0, 2])
    assert np.array_equal(chosen.evaluation.energy, state.evaluation.energy[[2, 0, 2]])
    fresh = PeriodicPair()(chosen.crystals)
    np.testing.assert_allclose(chosen.evaluation.forces, fresh.forces, atol=1e-12)


def test_temperature_and_step_size_may_differ_between_crystals():
    energy = PeriodicPair()
    state = SamplerState.start(
        random_crystals(np.random.default_rng(0), 2), energy, np.random.default_rng(0)
    )
    noise = Displacement(np.ones((6, 3)), np.zeros((2, 3, 3)))
    both = Scripted(PositionCoordinates(), given=noise)
    langevin.step(state, energy, both, temperature=[1.0, 2.0], step_size=[0.01, 0.04])
    slope = -state.evaluation.forces
    expected = np.concatenate(
        [-0.01 * slope[:3] + np.sqrt(0.02), -0.02 * slope[3:] + np.sqrt(0.08)]
    )
    np.testing.assert_allclose(both.moves[0][0].atoms, expected, rtol=1e-12)


def test_proposals_beyond_the_wall_are_not_evaluated():
    seen = []

    def energy(crystals):
        seen.append(crystals.volumes / crystals.counts)
        return PeriodicPair()(crystals)

    state = SamplerState.start(
        random_crystals(np.random.default_rng(0)), energy, np.random.default_rng(0)
    )
    for _ in range(20):
        state, record = langevin.step(
            state,
            energy,
            StrainCoordinates(),
            temperature=1.0,
            step_size=1.0,
            volume_bounds=(18.0, 22.0),
        )
    assert np.all((np.array(seen) >= 18.0) & (np.array(seen) <= 22.0))
    assert record.is_finite.all()


@pytest.mark.parametrize("broken", ["energy", "forces"])
def test_a_proposal_that_is_not_finite_is_refused(broken):
    def energy(crystals):
        good = PeriodicPair()(crystals)
        return replace(good, **{broken: getattr(good, broken) * np.nan})

    start = SamplerState.start(
        random_crystals(np.random.default_rng(0)), PeriodicPair(), np.random.default_rng(0)
    )
    state, record = langevin.step(
        start, energy, StrainCoordinates(), temperature=1.0, step_size=1e-6
    )
    assert not record.is_finite.any()
    assert not record.is_accepted.any()
    assert np.array_equal(state.evaluation.energy, start.evaluation.energy)


def test_projected_moves_stay_in_their_plane_and_keep_its_law():
    def plane(_, y):
        return Displacement(y.atoms * [1.0, 1.0, 0.0], 0.0 * y.cells)

    energy = EinsteinCrystal(sites=np.zeros((1, 3)), spring=2.0)
    start = Crystals.single([[0.3, 0.3, 0.2]], 3.0 * np.eye(3), [1]).select(
        np.zeros(1000, dtype=int)
    )
    coordinates = ProjectedCoordinates(PositionCoordinates(), plane)
    state = sampled(energy, coordinates, start, temperature=0.5, step_size=0.15, n_steps=30)
    assert np.all(state.crystals.positions[:, 2] == 0.2)
    for axis in (0, 1):
        assert_mean(state.crystals.positions[:, axis], 0.0)
        assert_variance(state.crystals.positions[:, axis], 0.25)


def test_a_foreign_bit_generator_is_refused():
    rng = np.random.Generator(np.random.MT19937(0))
    with pytest.raises(ValueError, match="PCG64"):
        SamplerState.start(random_crystals(np.random.default_rng(0)), PeriodicPair(), rng)
