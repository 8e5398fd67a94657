"""The anneal of a batch: the optimizer's chain for one, one mask per crystal for many."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.sampling import AnnealPlan, BatchAnneal, Geometric, WarmUp
from ase_continuousp.sampling.ase_system import AseSystem
from ase_continuousp.sampling.optimizer import AnnealedLangevin
from tests.energies import PeriodicPair
from tests.lattices import random_crystals

BOUNDS = (1.0, 1000.0)


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    return atoms


def plan_of(n_steps, *, warm_up=True, volume_per_atom=BOUNDS):
    return AnnealPlan(
        n_steps,
        Geometric(0.2, 0.02),
        Geometric(0.1, 1e-3),
        WarmUp() if warm_up else None,
        volume_per_atom,
    )


def test_a_batch_of_one_is_the_chain_of_the_optimizer():
    atoms, positions, scales = copper(), [], []
    optimizer = AnnealedLangevin(
        atoms, n_steps=30, temperature=(0.2, 0.02), step_size=(0.1, 1e-3), seed=5, logfile=None
    )
    optimizer.attach(lambda: positions.append(atoms.positions.copy()))
    optimizer.attach(lambda: scales.append(optimizer.step_size))
    optimizer.run()

    system = AseSystem(copper(), move_cell=True)
    batch = BatchAnneal(plan_of(30), system.coordinates)
    start = batch.start(system, system.crystals(), np.random.default_rng(5))
    n_accepted = 0
    for step, (run, _) in enumerate(batch.steps(start, system), start=1):
        assert np.array_equal(run.state.crystals.positions, positions[step])
        assert run.state.scale[0] * batch.plan.step_size_at(step) == scales[step]
        n_accepted = int(run.state.accepted[0])
    assert run.state.step == 30
    assert n_accepted / 30 == optimizer.acceptance_rate
    assert 0 < n_accepted < 30
    assert run.best_energy[0] == optimizer.best_energy
    assert np.array_equal(run.best_crystals.cells[0], optimizer.best_atoms.cell.array)


def test_step_sizes_are_adapted_for_each_crystal():
    def springs(crystals):
        stiff = np.where(crystals.numbers == 1, 1.0, 400.0)
        energies = 0.5 * stiff * np.sum(crystals.positions**2, axis=1)
        total = np.add.reduceat(energies, crystals.offsets[:-1])
        forces = -stiff[:, None] * crystals.positions
        return Evaluation(total, energies, forces, np.zeros((crystals.n_crystals, 3, 3)))

    one = [Crystals.single(np.zeros((1, 3)), 3.0 * np.eye(3), [z]) for z in (1, 2)]
    end = BatchAnneal(plan_of(200)).run(
        springs, Crystals.concatenate(one), np.random.default_rng(0)
    )
    assert end.state.scale[0] > 10.0 * end.state.scale[1]
    assert np.all(end.state.accepted > 60)


@pytest.mark.parametrize("warm_up", [True, False])
def test_a_run_cut_in_two_is_the_run_in_one(warm_up):
    batch = BatchAnneal(plan_of(8, warm_up=warm_up))
    start = batch.start(
        PeriodicPair(), random_crystals(np.random.default_rng(0), 3), np.random.default_rng(1)
    )
    runs = [run for run, _ in batch.steps(start, PeriodicPair())]
    kept = pickle.loads(pickle.dumps(runs[3]))  # as in a file
    *_, (again, _) = batch.steps(kept, PeriodicPair())
    assert np.array_equal(again.state.crystals.positions, runs[-1].state.crystals.positions)
    assert np.array_equal(again.state.scale, runs[-1].state.scale)
    assert np.array_equal(again.best_energy, runs[-1].best_energy)
    assert again.watch.reasons == runs[-1].watch.reasons


GOOD, LOST, SHRINKS, GROWS, NEVER = range(1, 6)


class Fates:
    """Springs and a well of the volume for `GOOD`; the others end, each in its own way."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, crystals):
        self.n_calls += 1
        kind = crystals.numbers
        log_ratio = np.log(crystals.volumes / 15.0)
        well = 0.5 * np.sum(crystals.positions**2, axis=1) + 10.0 * log_ratio**2
        pull = 5.0 * ((kind == SHRINKS) * 1.0 - (kind == GROWS))
        energy = np.where(kind == GOOD, well, pull * log_ratio)
        pull = np.where(kind == GOOD, 20.0 * log_ratio, pull)
        lost = (kind == NEVER) | ((kind == LOST) & (self.n_calls > 4))
        energy = np.where(lost, np.nan, energy)
        forces = np.where((kind == GOOD)[:, None], -crystals.positions, 0.0)
        stress = (pull / crystals.volumes)[:, None, None] * np.eye(3)
        return Evaluation(energy, energy, forces, stress)


def test_every_crystal_ends_for_its_own_reason():
    kinds = [GOOD, LOST, SHRINKS, GROWS, NEVER]
    start = Crystals.concatenate(
        [Crystals.single([[0.3, 0.2, 0.1]], 2.5 * np.eye(3), [kind]) for kind in kinds]
    )
    batch = BatchAnneal(plan_of(400, warm_up=False))
    energy = Fates()
    first_run = batch.start(energy, start, np.random.default_rng(0))
    ended_at = {}
    for run, record in batch.steps(first_run, energy):
        for b in np.flatnonzero(~run.watch.is_running):
            first = ended_at.setdefault(int(b), run.state)
            # Whatever ended stays as it was while the others go on.
            assert np.array_equal(first.crystals.cells[b], run.state.crystals.cells[b])
            assert first.step == run.state.step or not record.is_accepted[b]
    reasons = run.watch.reasons
    assert run.state.step == 400
    assert reasons[0] is None
    assert reasons[1] == "not finite: energy, forces or stress of 10 proposals in a row"
    assert reasons[2].startswith("collapse: volume per atom")
    assert reasons[3].startswith("explosion: volume per atom")
    assert reasons[4] == "not finite: energy, forces or stress of the first structure"
    assert np.isfinite(run.best_energy[:4]).all()
    assert run.state.crystals.volumes[2] > 0.4
    assert run.state.crystals.volumes[3] < 2100.0


def test_a_batch_of_which_nothing_is_left_ends():
    start = Crystals.single([[0.0, 0.0, 0.0]], 2.5 * np.eye(3), [NEVER])
    run = BatchAnneal(plan_of(50)).run(Fates(), start, np.random.default_rng(0))
    assert run.state.step == 0


def test_a_start_beyond_the_bounds_is_refused():
    start = random_crystals(np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match="volume_per_atom must hold the start: 20 Å³ of crystal 0"):
        BatchAnneal(plan_of(5, volume_per_atom=(1.0, 19.0))).run(
            PeriodicPair(), start, np.random.default_rng(0)
        )
