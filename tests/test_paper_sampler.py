"""The sampler of the paper: exact with a Niggli reduction in every step."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter

from ase_continuousp import AnnealedLangevin, sample
from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling import (
    FlatCoordinates,
    Geometric,
    PaperSampler,
    SamplerState,
    langevin,
)
from ase_continuousp.sampling.ase_system import AseSystem
from tests.energies import PeriodicPair
from tests.flow import (
    STEP_SIZE,
    TEMPERATURE,
    Scripted,
    gaussian_log_density,
    reversed_drift,
)
from tests.lattices import BASIS, other_description, random_crystals
from tests.tiny_model import save_tiny_model


def test_the_schedule_is_that_of_the_paper():
    sampler = PaperSampler()
    assert sampler.n_steps == 1000
    assert (sampler.temperature(0.0), sampler.temperature(1.0)) == (1.0, 1e-3)
    assert (sampler.step_size(0.0), sampler.step_size(1.0)) == (0.5, 5e-4)


def asymmetry_across_reduction(seed):
    """Return log of both flows' ratio for each crystal, and how many cells were described anew."""
    energy, coordinates = PeriodicPair(), FlatCoordinates()
    options = {"temperature": TEMPERATURE, "step_size": STEP_SIZE, "describe": reduce_crystals}
    rng = np.random.default_rng(seed)
    start = SamplerState.start(reduce_crystals(random_crystals(rng)), energy, rng)
    out = Scripted(coordinates)
    _, record = langevin.step(start, energy, out, **options)
    (forward, moved), (backward, far) = out.moves
    n_changed = int(np.sum(np.abs(far.cells - moved.cells).max(axis=(1, 2)) > 0.1))

    end = SamplerState.start(far, energy, rng)
    slope = coordinates.slope(far, end.evaluation)
    noise = backward.plus(slope.scaled(STEP_SIZE / TEMPERATURE, far))
    home = Scripted(coordinates, given=noise.scaled(1.0 / np.sqrt(2.0 * STEP_SIZE), far))
    _, record_back = langevin.step(end, energy, home, **options)
    _, returned = home.moves[-1]
    np.testing.assert_allclose(returned.cells, start.crystals.cells, atol=1e-9)
    np.testing.assert_allclose(returned.positions, start.crystals.positions, atol=1e-9)

    here = start.crystals
    slope_here = coordinates.slope(here, start.evaluation)
    asymmetry = (
        gaussian_log_density(here, forward, slope_here)
        + np.log(record.acceptance)
        - (start.evaluation.energy - end.evaluation.energy) / TEMPERATURE
        - gaussian_log_density(far, backward, slope)
        - np.log(record_back.acceptance)
    )
    return asymmetry, n_changed


def test_detailed_balance_across_reductions():
    n_changed = 0
    for seed in range(8):
        asymmetry, n = asymmetry_across_reduction(seed)
        np.testing.assert_allclose(asymmetry, 0.0, atol=1e-10)
        n_changed += n
    assert n_changed >= 5  # else the test shows nothing


def test_detailed_balance_fails_with_the_sign_of_the_official_code(monkeypatch):
    monkeypatch.setattr(langevin, "log_proposal", reversed_drift)
    assert np.abs(asymmetry_across_reduction(0)[0]).max() > 1e-2


def test_the_law_does_not_depend_on_the_description_of_the_start():
    # Every start is reduced first, but another basis may reduce to the same cell turned about.
    rng = np.random.default_rng(6)
    crystals = random_crystals(rng, 1, 2).select(np.zeros(60, dtype=int))
    images = rng.integers(-2, 3, size=(120, 3)).astype(float)
    there, _ = other_description(BASIS, images)
    sampler, ends = PaperSampler(n_steps=15), []
    for start in (crystals, there(crystals)):
        state = sampler.run(PeriodicPair(reach=3), start, np.random.default_rng(8))
        ends.append(state.evaluation.energy)
    error = np.sqrt(ends[0].var() / 60 + ends[1].var() / 60)
    assert abs(ends[0].mean() - ends[1].mean()) < 4.0 * error + 1e-12


def shape_energy(crystals):
    """Energy of the volume and of the most compact basis: invariant only if that is found."""
    log_volume = np.log(crystals.volumes / 27.0)
    reduced = reduce_crystals(crystals)
    square = np.sum(reduced.cells**2, axis=(1, 2))
    scale = crystals.volumes ** (-2.0 / 3.0)
    energy = 10.0 * log_volume**2 + square * scale
    gram = np.einsum("bix,biy->bxy", reduced.cells, reduced.cells)
    virial = 20.0 * log_volume[:, None, None] * np.eye(3) + 2.0 * scale[:, None, None] * (
        gram - square[:, None, None] / 3.0 * np.eye(3)
    )
    n = crystals.n_atoms
    stress = virial / crystals.volumes[:, None, None]
    return Evaluation(energy, np.zeros(n), np.zeros((n, 3)), stress)


def test_law_of_the_volume_with_reductions():
    # exp(−10 x²/T) in x = log V/V₀, times V³ of dL = V³ dμ and V of dr: mean 4 T / 20, for the
    # volume is independent of the shape; reductions must not disturb it.
    temperature, n = 1.0, 800
    one = Crystals.single([[0.0, 0.0, 0.0]], 3.0 * np.eye(3), [84])
    start = reduce_crystals(one.select(np.zeros(n, dtype=int)))
    state = SamplerState.start(start, shape_energy, np.random.default_rng(0))
    for _ in range(80):
        state, _ = langevin.step(
            state,
            shape_energy,
            FlatCoordinates(),
            temperature=temperature,
            step_size=0.03,
            describe=reduce_crystals,
        )
    x = np.log(state.crystals.volumes / 27.0)
    assert abs(x.mean() - 4.0 * temperature / 20.0) < 4.0 * x.std() / np.sqrt(n)
    squares = (x - x.mean()) ** 2
    assert abs(squares.mean() - temperature / 20.0) < 4.0 * squares.std() / np.sqrt(n)


def test_an_interrupted_run_is_the_run_in_one():
    energy, sampler = PeriodicPair(), PaperSampler(n_steps=8)
    start = random_crystals(np.random.default_rng(0), 2)
    whole = sampler.run(energy, start, np.random.default_rng(1))
    states = [
        s for s, _ in sampler.steps(sampler.start(energy, start, np.random.default_rng(1)), energy)
    ]
    *_, (again, _) = sampler.steps(states[2], energy)
    assert np.array_equal(whole.crystals.positions, again.crystals.positions)
    assert np.array_equal(whole.crystals.cells, again.crystals.cells)
    assert again.step == 8


# What users call


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell([[1, 1, 0], [0, 1, 0], [0, -1, 1]] @ atoms.cell.array)  # far from reduced
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    return atoms


SHORT = {"n_steps": 25, "temperature": (0.3, 0.02), "step_size": (2e-3, 1e-4)}


def test_the_preset_of_the_optimizer_is_this_sampler(tmp_path):
    optimizer = AnnealedLangevin(
        copper(), preset="paper", **SHORT, seed=4, logfile=None, restart=tmp_path / "run.json"
    )
    frames = []
    optimizer.attach(lambda: frames.append(optimizer.optimizable.get_value()))
    optimizer.run()

    schedules = {name: Geometric(*SHORT[name]) for name in ("temperature", "step_size")}
    sampler = PaperSampler(n_steps=25, **schedules)
    system = AseSystem(copper(), move_cell=True)
    state = sampler.start(system, system.crystals(), np.random.default_rng(4))
    energies = [state.evaluation.energy[0]]
    for reached, _ in sampler.steps(state, system):
        state = reached
        energies.append(state.evaluation.energy[0])
    assert frames == energies
    assert 0.1 < optimizer.acceptance_rate == state.accepted[0] / 25 < 1.0
    cell = optimizer.atoms.cell.array
    assert np.array_equal(cell, state.crystals.cells[0])
    assert np.array_equal(optimizer.atoms.positions, state.crystals.positions)
    reduced = reduce_crystals(state.crystals).cells[0]
    np.testing.assert_allclose(cell, reduced, atol=1e-9)


def test_the_preset_has_the_schedule_of_the_paper():
    optimizer = AnnealedLangevin(copper(), preset="paper", logfile=None)
    told = optimizer.todict()
    assert (told["n_steps"], told["target_acceptance"], told["preset"]) == (1000, None, "paper")
    assert (optimizer.temperature, optimizer.step_size) == (1.0, 0.5)


def test_a_run_with_the_preset_goes_on_where_it_was_cut(tmp_path):
    whole, parts = copper(), copper()
    AnnealedLangevin(whole, preset="paper", **SHORT, seed=4, logfile=None).run(fmax=0.05, steps=35)
    path = tmp_path / "run.json"
    for steps in (9, 26):
        parts = copper()
        AnnealedLangevin(parts, preset="paper", **SHORT, seed=4, logfile=None, restart=path).run(
            fmax=0.05, steps=steps
        )
    assert np.array_equal(whole.positions, parts.positions)
    assert np.array_equal(whole.cell.array, parts.cell.array)


def test_samples_by_the_preset_are_ends_of_its_chains(tmp_path):
    folder = save_tiny_model(tmp_path / "tiny", anneal={"n_steps": 4, "quench_steps": 4})
    options = {"model": folder, "preset": "paper", "n_steps": 30, "seed": 2}
    made = sample(["NaCl", "Cu2"], **options)
    assert [str(atoms.symbols) for atoms in made] == ["NaCl", "Cu2"]
    again = sample(["NaCl", "Cu2"], **options)
    assert np.array_equal(made[0].positions, again[0].positions)
    short = sample(["NaCl", "Cu2"], model=folder, seed=2)
    assert not np.allclose(made[0].get_volume(), short[0].get_volume())
    for atoms in made:
        cells = atoms.cell.array[None]
        crystals = Crystals.single(atoms.positions, cells[0], atoms.numbers)
        np.testing.assert_allclose(reduce_crystals(crystals).cells, cells, atol=1e-9)
    with pytest.raises(ValueError, match="preset='paper' keeps no space group: spacegroup=225"):
        sample("NaCl", **options, spacegroup=225)
    with pytest.raises(ValueError, match="preset must be 'paper' or None: 'fast'"):
        sample("NaCl", model=folder, preset="fast")


def test_the_preset_refuses_what_cannot_move():
    constrained = copper()
    constrained.set_constraint(FixAtoms([0]))
    for atoms, options, message in (
        (constrained, {}, "preset='paper' keeps no constraint: FixAtoms"),
        (copper(), {"move_cell": False}, "preset='paper' moves the cell: move_cell=False"),
        (FrechetCellFilter(copper()), {}, "preset='paper' takes Atoms, not a filter"),
        (copper(), {"preset": "papers"}, "preset must be 'paper' or None: 'papers'"),
    ):
        with pytest.raises(ValueError, match=message):
            AnnealedLangevin(atoms, **{"preset": "paper", "logfile": None, **options})
