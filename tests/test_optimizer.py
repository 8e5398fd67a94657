"""`AnnealedLangevin` as an ASE optimizer: what it does, keeps, writes, resumes and refuses."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import (
    FixAtoms,
    FixBondLength,
    FixCartesian,
    FixCom,
    FixedPlane,
    FixSymmetry,
)
from ase.filters import FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.io import Trajectory, read
from ase.io.jsonio import read_json
from ase.optimize.optimize import RestartError
from ase.spacegroup.symmetrize import check_symmetry
from ase.test.conftest import testdir  # noqa: F401  only this name: its hooks refuse foreign modules
from ase.test.optimize import test_nsteps as ase_nsteps
from ase.test.optimize import test_optimizers as ase_optimizers

from ase_continuousp import ContinuouSPCalculator
from ase_continuousp.sampling import optimizer
from ase_continuousp.sampling.optimizer import AnnealedLangevin

COOL = {"temperature": (0.05, 1e-3), "logfile": None, "seed": 0}


def copper(strain=1.05, stdev=0.1):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(strain * atoms.cell.array, scale_atoms=True)
    atoms.rattle(stdev, seed=1)
    atoms.calc = EMT()
    return atoms


def cluster(n_atoms=7, seed=3):
    rng = np.random.default_rng(seed)
    atoms = Atoms("Cu" + str(n_atoms), positions=rng.uniform(0.0, 5.0, (n_atoms, 3)))
    atoms.calc = EMT()
    return atoms


class Scripted(Calculator):
    """A calculator whose energy and forces come from a function of positions and volume."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.n_calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        self.results = self.function(self.atoms, self.n_calls)


# What a run does


def nothing(atoms, _):
    """Energy, forces and stress that let a cell go wherever the noise takes it."""
    return {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def skew(cell):
    return np.prod(np.linalg.norm(cell, axis=1)) / abs(np.linalg.det(cell))


def test_a_cell_that_is_sheared_without_end_is_described_by_short_vectors(monkeypatch):
    def ends():
        atoms = bulk("NaCl", "rocksalt", a=5.6)
        atoms.calc = Scripted(nothing)
        AnnealedLangevin(
            atoms, n_steps=60, seed=3, logfile=None, step_size=(0.05, 0.05), target_acceptance=None
        ).run()
        return atoms

    short = ends()
    monkeypatch.setattr(optimizer, "straightened", lambda crystals: crystals)
    long = ends()
    assert skew(short.cell.array) < 5.0 < skew(long.cell.array)
    # The same chain: the same atoms in the same lattice.
    np.testing.assert_allclose(short.positions, long.positions, atol=1e-9)
    basis = long.cell.array @ np.linalg.inv(short.cell.array)
    np.testing.assert_allclose(basis, np.rint(basis), atol=1e-6)
    assert abs(np.linalg.det(basis)) == pytest.approx(1.0)


def test_a_crystal_with_its_cell_finds_the_minimum():
    atoms = copper()
    anneal = AnnealedLangevin(atoms, n_steps=150, **COOL)
    assert anneal.run(fmax=0.01)
    reference = bulk("Cu", cubic=True)
    reference.calc = EMT()
    ideal = AnnealedLangevin(reference, n_steps=1, temperature=(1e-6, 1e-6), logfile=None)
    assert ideal.run(fmax=1e-4)
    assert anneal.best_energy == pytest.approx(ideal.best_energy, abs=2e-3)
    assert atoms.get_volume() == pytest.approx(reference.get_volume(), rel=0.01)
    assert np.abs(atoms.get_forces()).max() < 0.01
    assert np.abs(atoms.get_stress()).max() < 0.01 * len(atoms) / atoms.get_volume()
    assert 0.3 < anneal.acceptance_rate < 0.9


def test_a_cluster_keeps_its_missing_cell():
    atoms = cluster()
    before = atoms.get_potential_energy()
    anneal = AnnealedLangevin(atoms, n_steps=200, move_cell=False, **COOL)
    assert anneal.run()
    assert anneal.nsteps == 200
    assert anneal.best_energy < before - 1.0
    assert atoms.cell.rank == 0


def test_a_slab_keeps_its_cell_and_its_bottom():
    atoms = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    add_adsorbate(atoms, "Ni", 2.0, "ontop")
    atoms.calc = EMT()
    atoms.set_constraint(FixAtoms(mask=atoms.positions[:, 2] < 7.0))
    fixed, cell = atoms.constraints[0].index, atoms.cell.array.copy()
    before = atoms.positions.copy()
    AnnealedLangevin(atoms, n_steps=40, move_cell=False, **COOL).run()
    assert np.array_equal(atoms.positions[fixed], before[fixed])
    assert not np.any(np.all(atoms.positions == before, axis=1)[len(fixed) :])
    assert np.array_equal(atoms.cell.array, cell)


def test_one_evaluation_per_step_and_none_for_asking():
    calls = []

    class Counting(EMT):
        def calculate(self, *args, **kwargs):
            calls.append(1)
            super().calculate(*args, **kwargs)

    atoms = copper()
    atoms.calc = Counting()
    anneal = AnnealedLangevin(atoms, n_steps=30, **COOL)
    assert not calls
    anneal.run()
    anneal.log(anneal.optimizable.get_gradient())
    assert len(calls) == 31
    atoms.get_forces()
    atoms.get_stress()
    assert len(calls) == 31
    assert anneal.acceptance_rate < 1.0


def test_best_atoms_carry_their_results():
    atoms = copper()
    anneal = AnnealedLangevin(atoms, n_steps=40, **COOL)
    energies = []
    anneal.attach(lambda: energies.append(atoms.get_potential_energy()))
    anneal.run()
    best = anneal.best_atoms
    assert len(energies) == 41
    assert anneal.best_energy == min(energies) == best.get_potential_energy()
    assert best.calc.name == "emt"
    best.calc = EMT()
    assert best.get_potential_energy() == pytest.approx(anneal.best_energy, abs=1e-12)
    best.positions += 1.0  # a copy: the record does not change
    assert not np.array_equal(best.positions, anneal.best_atoms.positions)


def test_same_seed_same_run_and_no_global_random_state():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    calc, ends = EMT(), []
    for seed in (1, 1, 2):
        atoms = copper()
        atoms.calc = calc
        AnnealedLangevin(atoms, n_steps=20, temperature=(0.1, 0.01), logfile=None, seed=seed).run()
        ends.append(atoms.positions.copy())
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_run_does_not_depend_on_the_description_of_the_start():
    runs = []
    for is_other in (False, True):
        atoms = copper()
        if is_other:
            basis = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
            atoms.set_cell(basis @ atoms.cell.array)
            images = np.random.default_rng(2).integers(-1, 2, size=(len(atoms), 3))
            atoms.positions += images @ atoms.cell.array
        anneal = AnnealedLangevin(atoms, n_steps=15, **COOL)
        energies = [anneal.optimizable.get_value() for _ in anneal.irun()]
        assert anneal.acceptance_rate > 0.1
        runs.append(energies)
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-7)


def test_steps_are_counted_as_asked():
    anneal = AnnealedLangevin(copper(), n_steps=12, **COOL)
    assert not anneal.run(steps=0)
    assert anneal.nsteps == 0
    assert not anneal.run(steps=5)
    assert not anneal.run(steps=5)
    assert anneal.nsteps == 10
    assert anneal.run()
    assert anneal.nsteps == 12
    assert anneal.run()
    assert anneal.nsteps == 12
    assert list(anneal.irun(steps=0)) == [True]


def test_a_run_cut_in_two_is_the_run_in_one():
    whole, parts = copper(), copper()
    AnnealedLangevin(whole, n_steps=20, **COOL).run()
    anneal = AnnealedLangevin(parts, n_steps=20, **COOL)
    anneal.run(steps=7)
    anneal.run()
    assert np.array_equal(whole.positions, parts.positions)
    assert np.array_equal(whole.cell.array, parts.cell.array)


def test_atoms_moved_by_hand_between_runs_are_noticed():
    atoms = copper()
    anneal = AnnealedLangevin(atoms, n_steps=20, **COOL)
    anneal.run(steps=3)
    atoms.rattle(0.2, seed=9)
    expected = atoms.get_potential_energy()
    anneal.run(steps=0)
    assert anneal.optimizable.get_value() == pytest.approx(expected, abs=1e-12)


def test_fixed_step_sizes_are_taken_as_given():
    anneal = AnnealedLangevin(
        copper(), n_steps=10, step_size=(1e-4, 1e-5), target_acceptance=None, **COOL
    )
    anneal.run(steps=9)
    assert anneal.step_size == pytest.approx(1e-5, rel=1e-12)
    assert anneal.temperature == pytest.approx(1e-3, rel=1e-12)


def test_pressure_moves_the_volume_as_an_enthalpy():
    volumes = []
    for pressure in (0.0, 0.05):
        atoms = bulk("Cu")
        atoms.calc = EMT()
        anneal = AnnealedLangevin(atoms, n_steps=20, pressure=pressure, **COOL)
        assert anneal.run(fmax=1e-4)
        volumes.append(atoms.get_volume())
        stress = atoms.get_stress()[:3]
        np.testing.assert_allclose(stress, -pressure, atol=1e-4)
        assert anneal.optimizable.get_value() == pytest.approx(
            atoms.get_potential_energy() + pressure * atoms.get_volume(), abs=1e-10
        )
    assert volumes[1] < 0.97 * volumes[0]


# Constraints and filters


@pytest.mark.parametrize("move_cell", [True, False])
def test_fixed_atoms_do_not_move_by_a_bit(move_cell):
    atoms = copper()
    atoms.set_constraint(FixAtoms([0, 2]))
    before = atoms.positions.copy()
    anneal = AnnealedLangevin(atoms, n_steps=60, move_cell=move_cell, **COOL)
    anneal.run()
    assert np.array_equal(atoms.positions[[0, 2]], before[[0, 2]])
    assert np.all(atoms.positions[[1, 3]] != before[[1, 3]])
    assert anneal.acceptance_rate > 0.3


@pytest.mark.parametrize("move_cell", [True, False])
def test_the_center_of_mass_stays(move_cell):
    atoms = copper()
    atoms.symbols[0] = "Ni"
    atoms.set_constraint(FixCom())
    before = atoms.get_center_of_mass()
    anneal = AnnealedLangevin(atoms, n_steps=60, move_cell=move_cell, **COOL)
    anneal.run()
    np.testing.assert_allclose(atoms.get_center_of_mass(), before, atol=1e-12)
    assert anneal.acceptance_rate > 0.3


@pytest.mark.parametrize("move_cell", [True, False])
def test_symmetry_is_kept(move_cell):
    # Rutile has one free position and two free cell lengths.
    u, a, c = 0.29, 5.4, 3.9
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0)]
    places += [(0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    atoms = Atoms("Cu2Au4", scaled_positions=places, cell=[a, a, c], pbc=True)
    atoms.calc = EMT()
    atoms.set_constraint(FixSymmetry(atoms))
    assert check_symmetry(atoms, 1e-6).number == 136
    before = atoms.copy()
    anneal = AnnealedLangevin(atoms, n_steps=60, move_cell=move_cell, **COOL)
    anneal.run()
    assert anneal.acceptance_rate > 0.3
    assert not np.allclose(before.positions, atoms.positions, atol=1e-3)
    atoms.set_constraint()
    assert check_symmetry(atoms, 1e-8).number == 136
    lengths, angles = atoms.cell.cellpar()[:3], atoms.cell.cellpar()[3:]
    np.testing.assert_allclose(angles, 90.0, atol=1e-10)
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-10)
    assert (abs(lengths[2] - c) > 1e-3) == move_cell


def test_several_constraints_hold_together():
    atoms = cluster()
    direction = np.array([1.0, 1.0, 0.0])
    atoms.set_constraint(
        [FixAtoms([0]), FixedPlane(1, direction), FixCartesian(2, (True, False, False))]
    )
    before = atoms.positions.copy()
    AnnealedLangevin(atoms, n_steps=40, move_cell=False, **COOL).run()
    change = atoms.positions - before
    assert np.array_equal(atoms.positions[0], before[0])
    assert abs(change[1] @ direction) < 1e-12
    assert atoms.positions[2, 0] == before[2, 0]
    assert np.all(change[2, 1:] != 0.0)


def test_a_cluster_with_fixed_atoms_and_center_of_mass():
    atoms = cluster()
    atoms.set_constraint([FixAtoms([0]), FixCom()])
    before, center = atoms.positions.copy(), atoms.get_center_of_mass()
    AnnealedLangevin(atoms, n_steps=30, move_cell=False, **COOL).run()
    assert np.array_equal(atoms.positions[0], before[0])
    np.testing.assert_allclose(atoms.get_center_of_mass(), center, atol=1e-12)


@pytest.mark.parametrize("filtered", [FrechetCellFilter, UnitCellFilter])
def test_cell_filters_are_sampled_in_their_own_coordinates(filtered):
    atoms = copper()
    anneal = AnnealedLangevin(filtered(atoms), n_steps=80, **COOL)
    assert anneal.run(fmax=0.01)
    ideal = bulk("Cu", cubic=True)
    ideal.calc = EMT()
    AnnealedLangevin(ideal, n_steps=1, temperature=(1e-6, 1e-6), logfile=None).run(fmax=1e-3)
    assert atoms.get_volume() == pytest.approx(ideal.get_volume(), rel=0.01)
    assert isinstance(anneal.best_atoms, Atoms)
    assert anneal.best_atoms.get_potential_energy() == pytest.approx(anneal.best_energy, abs=1e-10)


def test_masked_filters_hold_their_components():
    atoms = copper()
    before = atoms.cell.cellpar()
    anneal = AnnealedLangevin(FrechetCellFilter(atoms, mask=[1, 0, 0, 0, 0, 0]), n_steps=30, **COOL)
    anneal.run()
    after = atoms.cell.cellpar()
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-8)
    assert abs(after[0] - before[0]) > 1e-4


def test_a_strain_filter_with_pressure_of_its_own():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    assert AnnealedLangevin(UnitCellFilter(atoms, scalar_pressure=0.05), n_steps=20, **COOL).run(
        fmax=1e-3
    )
    np.testing.assert_allclose(atoms.get_stress()[:3], -0.05, atol=1e-3)
    atoms = bulk("Cu", a=3.8)
    atoms.calc = EMT()
    assert AnnealedLangevin(StrainFilter(atoms), n_steps=20, **COOL).run(fmax=1e-2)
    assert atoms.get_volume() == pytest.approx(11.57, abs=0.05)


# What it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1: 0"),
        ({"temperature": (1.0, 0.0)}, r"temperature must be two positive.*\(1.0, 0.0\)"),
        ({"temperature": 1.0}, "temperature must be a pair of numbers: 1.0"),
        ({"step_size": (0.1, float("nan"))}, "step_size must be two positive"),
        ({"loginterval": 0}, "loginterval must be at least 1: 0"),
        ({"target_acceptance": 1.5}, "target acceptance must lie between 0 and 1: 1.5"),
        ({"pressure": 0.1, "move_cell": False}, "pressure acts on a cell that moves"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AnnealedLangevin(copper(), **{"logfile": None, **options})


def test_a_cell_that_cannot_move_is_refused():
    with pytest.raises(ValueError, match=r"move_cell=True needs a crystal.*pass move_cell=False"):
        AnnealedLangevin(cluster(), logfile=None)
    slab = fcc111("Cu", (1, 1, 2), vacuum=5.0)
    with pytest.raises(ValueError, match=r"pbc is \[True, True, False\]"):
        AnnealedLangevin(slab, logfile=None)


def test_no_atoms_no_stress_and_foreign_constraints_are_refused():
    with pytest.raises(ValueError, match="atoms must not be empty"):
        AnnealedLangevin(Atoms(), logfile=None)
    atoms = copper()
    atoms.calc = Scripted(lambda a, _: {"energy": 0.0, "forces": np.zeros((len(a), 3))})
    atoms.calc.implemented_properties = ["energy", "forces"]
    with pytest.raises(ValueError, match=r"needs a calculator with stress.*move_cell=False"):
        AnnealedLangevin(atoms, n_steps=3, logfile=None).run()
    atoms = cluster()
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(ValueError, match="FixBondLengths cannot be kept by a projection"):
        AnnealedLangevin(atoms, move_cell=False, logfile=None)
    atoms = copper()
    atoms.set_constraint([FixAtoms([0]), FixCom()])
    with pytest.raises(ValueError, match="one kind of constraint"):
        AnnealedLangevin(atoms, logfile=None)
    atoms.set_constraint(FixCom())
    with pytest.raises(ValueError, match="no constraint but FixAtoms"):
        AnnealedLangevin(FrechetCellFilter(atoms), logfile=None)


# Reasons to stop


def spring(atoms):
    forces = -atoms.positions
    return {"energy": 0.5 * np.sum(forces**2), "forces": forces, "stress": np.zeros(6)}


@pytest.mark.parametrize("broken", ["energy", "forces"])
def test_an_energy_that_is_not_finite_stops_the_run(broken, caplog):
    def fails(atoms, n_calls):
        good = spring(atoms)
        return good if n_calls <= 5 else {**good, broken: good[broken] * np.nan}

    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0.5]], calculator=Scripted(fails))
    log = io.StringIO()
    anneal = AnnealedLangevin(atoms, n_steps=100, move_cell=False, seed=0, logfile=log)
    assert not anneal.run()
    assert anneal.stop_reason.startswith("not finite")
    assert anneal.nsteps == 14
    assert np.isfinite(atoms.positions).all()
    assert np.isfinite(anneal.best_energy)
    assert "stopped: not finite" in log.getvalue()
    assert "stopped after 14 steps" in caplog.text
    assert not anneal.run()
    assert anneal.nsteps == 14


def test_a_first_structure_that_is_not_finite_stops_at_once():
    atoms = Atoms("Cu", calculator=Scripted(lambda a, _: {**spring(a), "energy": np.nan}))
    anneal = AnnealedLangevin(atoms, n_steps=10, move_cell=False, logfile=None)
    assert not anneal.run()
    assert anneal.nsteps == 0
    assert "first structure" in anneal.stop_reason


@pytest.mark.parametrize(("sign", "reason"), [(1.0, "collapse"), (-1.0, "explosion")])
def test_a_cell_that_runs_away_stops_the_run(sign, reason):
    def pulled(atoms, _):
        volume = atoms.get_volume()
        stress = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) * sign * 5.0 / volume
        return {
            "energy": sign * 5.0 * np.log(volume),
            "forces": np.zeros((len(atoms), 3)),
            "stress": stress,
        }

    atoms = bulk("Cu")
    atoms.calc = Scripted(pulled)
    anneal = AnnealedLangevin(atoms, n_steps=1000, seed=0, logfile=None)
    assert not anneal.run()
    assert anneal.stop_reason.startswith(reason)
    assert 0.4 < atoms.get_volume() < 2100.0
    with pytest.raises(ValueError, match="volume_per_atom must hold the start"):
        AnnealedLangevin(atoms, volume_per_atom=(5.0, 50.0), logfile=None).run()


# Files


def test_the_log_names_what_the_run_did(tmp_path):
    log = tmp_path / "anneal.log"
    anneal = AnnealedLangevin(copper(), n_steps=5, temperature=(0.1, 0.01), seed=0, logfile=log)
    anneal.run()
    lines = log.read_text().splitlines()
    assert len(lines) == 7
    for word in ("Step", "Energy", "fmax", "Temperature", "Step size", "Accepted", "Best energy"):
        assert word in lines[0]
    assert float(lines[-1].split()[-1]) == pytest.approx(anneal.best_energy, abs=1e-6)
    assert float(lines[-1].split()[-2]) == pytest.approx(anneal.acceptance_rate, abs=1e-3)


@pytest.mark.parametrize("interval", [1, 3])
def test_trajectory_frames_hold_the_state_of_the_chain(tmp_path, interval):
    atoms, path = copper(), tmp_path / "anneal.traj"
    anneal = AnnealedLangevin(atoms, n_steps=12, trajectory=str(path), loginterval=interval, **COOL)
    states = []
    anneal.attach(lambda: states.append((atoms.positions.copy(), anneal.optimizable.get_value())))
    anneal.run()
    frames = read(path, ":")
    assert len(frames) == 12 // interval + 1
    for frame, (positions, energy) in zip(frames, states[::interval], strict=True):
        assert np.array_equal(frame.positions, positions)
        assert frame.get_potential_energy() == energy
        check = frame.copy()
        check.calc = EMT()
        np.testing.assert_allclose(frame.get_forces(), check.get_forces(), atol=1e-10)
        np.testing.assert_allclose(frame.get_stress(), check.get_stress(), atol=1e-10)
    with Trajectory(path) as trajectory:
        assert trajectory.description["optimizer"] == "AnnealedLangevin"
        assert trajectory.description["n_steps"] == 12


def test_an_open_trajectory_and_an_appended_one(tmp_path):
    path = tmp_path / "anneal.traj"
    with Trajectory(path, "w") as trajectory:
        AnnealedLangevin(copper(), n_steps=3, trajectory=trajectory, **COOL).run()
    assert len(read(path, ":")) == 4
    AnnealedLangevin(copper(), n_steps=3, trajectory=path, append_trajectory=True, **COOL).run()
    assert len(read(path, ":")) == 8
    AnnealedLangevin(copper(), n_steps=3, trajectory=path, **COOL).run()
    assert len(read(path, ":")) == 4


def test_only_the_first_rank_writes(tmp_path):
    class SecondRank:
        rank, size = 1, 2

        def barrier(self):
            pass

        def broadcast(self, array, root):
            array[:] = 7

        def sum_scalar(self, value):
            return value

    anneal = AnnealedLangevin(
        copper(),
        n_steps=3,
        temperature=(0.1, 0.01),
        logfile=tmp_path / "log",
        trajectory=tmp_path / "traj",
        restart=tmp_path / "restart",
        comm=SecondRank(),
    )
    anneal.run()
    assert list(tmp_path.iterdir()) == []


def test_a_restart_goes_on_where_the_run_was(tmp_path):
    whole = copper()
    straight = AnnealedLangevin(whole, n_steps=30, trajectory=tmp_path / "a.traj", **COOL)
    straight.run(fmax=0.02)
    options = {**COOL, "restart": tmp_path / "restart.json", "trajectory": tmp_path / "b.traj"}
    for steps in (0, 11, 1, 0, 19, 1000):  # inside the schedule, at its end, in the descent
        atoms = copper()
        anneal = AnnealedLangevin(atoms, n_steps=30, append_trajectory=True, **options)
        anneal.run(fmax=0.02, steps=steps)
    assert anneal.nsteps == straight.nsteps > 30
    assert np.array_equal(atoms.positions, whole.positions)
    assert anneal.best_energy == straight.best_energy
    assert np.array_equal(anneal.best_atoms.positions, straight.best_atoms.positions)
    assert anneal.acceptance_rate == straight.acceptance_rate
    assert_same_frames(tmp_path / "a.traj", tmp_path / "b.traj")
    stored = read_json(tmp_path / "restart.json", always_array=False)
    assert stored["nsteps"] == straight.nsteps
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_a_restart_file_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "restart.json"
    for model in ("perov5", "perov5", "mp20"):
        atoms = bulk("Cu")
        atoms.calc = ContinuouSPCalculator(model)
        options = {"n_steps": 2, "restart": path, **COOL}
        if model == "mp20":
            with pytest.raises(RestartError, match=r"calculator=continuousp \w+, not continuousp"):
                AnnealedLangevin(atoms, **options)
        else:
            AnnealedLangevin(atoms, **options).run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmax": math.nan}, "fmax must be a number of at least 0, or None: nan"),
        ({"fmax": -0.1}, "fmax must be a number of at least 0, or None: -0.1"),
        ({"steps": -1}, "steps must not be negative: -1"),
    ],
)
def test_what_would_never_end_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AnnealedLangevin(copper(), n_steps=3, **COOL).run(**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_steps": 2.5}, TypeError, "n_steps must be a whole number: 2.5"),
        ({"seed": -1}, ValueError, "seed must not be negative: -1"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number: 0.5"),
        ({"seed": "x"}, TypeError, "seed must be a whole number: 'x'"),
        ({"seed": True}, TypeError, "seed must be a whole number: True"),
    ],
)
def test_what_is_no_number_of_steps_or_seed_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        AnnealedLangevin(copper(), **({"n_steps": 3} | COOL | options))


def test_what_is_no_atoms_is_refused():
    with pytest.raises(TypeError, match=r"atoms must be ase.Atoms or a filter of them: list"):
        AnnealedLangevin([copper()])


def test_a_foreign_restart_file_is_refused(tmp_path):
    path = tmp_path / "restart.json"
    AnnealedLangevin(copper(), n_steps=5, restart=path, **COOL).run()
    with pytest.raises(RestartError, match="written with n_steps=5, not 6"):
        AnnealedLangevin(copper(), n_steps=6, restart=path, **COOL)
    atoms = copper()
    atoms.symbols[0] = "Ni"
    with pytest.raises(RestartError, match="numbers"):
        AnnealedLangevin(atoms, n_steps=5, restart=path, **COOL)
    with pytest.raises(RestartError, match="written with seed=0, not 7"):
        AnnealedLangevin(copper(), n_steps=5, restart=path, **(COOL | {"seed": 7}))
    AnnealedLangevin(copper(), n_steps=5, restart=path, **(COOL | {"seed": None}))
    atoms = copper()
    atoms.calc = LennardJones()
    with pytest.raises(RestartError, match="written with calculator=emt, not lennardjones"):
        AnnealedLangevin(atoms, n_steps=5, restart=path, **COOL)
    path.write_text("{")
    with pytest.raises(RestartError, match="not readable as JSON"):
        AnnealedLangevin(copper(), n_steps=5, restart=path, **COOL)
    path.write_text("[1, 2]")
    with pytest.raises(RestartError, match="not written by AnnealedLangevin"):
        AnnealedLangevin(copper(), n_steps=5, restart=path, **COOL)


def test_a_restart_with_a_filter(tmp_path):
    ends = []
    for cuts in ((100,), (8, 100)):
        for steps in cuts:
            atoms = copper()
            path = tmp_path / f"{len(cuts)}.json"
            filtered = FrechetCellFilter(atoms)
            AnnealedLangevin(filtered, n_steps=20, restart=path, **COOL).run(steps=steps)
        ends.append(np.concatenate([atoms.positions, atoms.cell.array]))
    assert np.array_equal(*ends)


def assert_same_frames(one, other):
    straight, resumed = read(one, ":"), read(other, ":")
    assert len(straight) == len(resumed)
    for a, b in zip(straight, resumed, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert np.array_equal(a.cell.array, b.cell.array)
        assert a.get_potential_energy() == b.get_potential_energy()


SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
from ase.calculators.emt import EMT
from ase.io import read
from ase_continuousp.sampling import optimizer
from ase_continuousp.sampling.optimizer import AnnealedLangevin

folder, n_kills, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3])

def launch(name):
    # A fork is a run of its own that need not import everything anew.
    process = os.fork()
    if process:
        return process
    atoms = read(folder / "start.extxyz")
    atoms.calc = EMT()
    AnnealedLangevin(
        atoms, n_steps=200, temperature=(0.3, 1e-3), seed=4, logfile=None,
        trajectory=folder / f"{name}.traj", restart=folder / f"{name}.json",
        append_trajectory=True,
    ).run()
    os._exit(0)

assert os.waitpid(launch("straight"), 0)[1] == 0
restart, n_killed = folder / "killed.json", 0
while True:
    process = launch("killed")
    if n_killed < n_kills:
        for _ in range(rng.randint(1, 5)):  # a random step
            seen = restart.stat().st_mtime_ns if restart.exists() else 0
            while not restart.exists() or restart.stat().st_mtime_ns == seen:
                time.sleep(2e-4)
        time.sleep(rng.uniform(0.0, 5e-3))  # and a random moment in it
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    n_killed += 1
print(n_killed)
"""


def test_killed_runs_resume_to_the_straight_trajectory(tmp_path):
    copper().write(tmp_path / "start.extxyz")
    n_kills = os.environ.get("N_KILLS", "20")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path, n_kills, os.environ.get("KILL_SEED", "0")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [n_kills]
    assert_same_frames(tmp_path / "straight.traj", tmp_path / "killed.traj")


# ASE's own tests of its optimizers, for this one. Crystals of these tests keep their cell there,
# as the optimizers of ASE do.

POSITIONS_ONLY = partial(
    AnnealedLangevin, n_steps=30, move_cell=False, seed=0, temperature=(0.01, 1e-3)
)
POSITIONS_ONLY.__name__ = "AnnealedLangevin"

ref_atoms = ase_optimizers.fixture_ref_atoms
atoms = ase_optimizers.fixture_atoms
kwargs = ase_optimizers.fixture_kwargs


@pytest.fixture(name="optcls")
def fixture_optcls():
    return POSITIONS_ONLY


test_ase_optimize = ase_optimizers.test_optimize
test_ase_unconverged = ase_optimizers.test_unconverged
test_ase_run_twice = ase_optimizers.test_run_twice
test_ase_path = ase_optimizers.test_path


@pytest.fixture(name="opt")
def fixture_opt():
    gold = bulk("Au", cubic=True)
    gold.rattle(stdev=0.12345, seed=42)
    gold.calc = EMT()
    with AnnealedLangevin(gold, logfile=None) as anneal:
        yield anneal


test_ase_nsteps = ase_nsteps.test_nsteps


def test_any_calculator_does():
    argon = bulk("Ar", cubic=True, a=5.5)
    argon.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0)
    anneal = AnnealedLangevin(argon, n_steps=10, temperature=(0.01, 1e-3), seed=0, logfile=None)
    assert anneal.run()
    assert anneal.best_atoms.calc.name == "lennardjones"
