"""The calculator in the hands of others: command line, sums, filters, files, phonons."""

from __future__ import annotations

import copy
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.mixing import AverageCalculator, MixedCalculator, SumCalculator
from ase.cli.main import main as ase_main
from ase.constraints import FixAtoms, FixSymmetry
from ase.db import connect
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.io import Trajectory, read
from ase.optimize import BFGS, LBFGS
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp import ContinuouSPCalculator, list_models
from ase_continuousp.testing import assert_forces, assert_stress
from tests.systems import perovskite, rattled
from tests.tiny_model import save_tiny_model

needs_mp20 = pytest.mark.skipif("mp20" not in list_models(), reason="mp20 does not ship yet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), priors=False)


@pytest.fixture
def calc(folder: Path) -> ContinuouSPCalculator:
    return ContinuouSPCalculator(folder, device="cpu", dtype="float64")


def salt(a: float = 5.9) -> Atoms:
    return bulk("NaCl", "rocksalt", a=a)


# The command line of ASE


def test_ase_run_knows_it_once_imported(
    folder: Path, calc: ContinuouSPCalculator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = rattled(perovskite())
    atoms.write("in.traj")
    parameters = f"model={folder},dtype=float64,device=cpu"
    ase_main(args=["run", "continuousp", "in.traj", "-p", parameters, "-o", "out.json"])
    found = read("out.json")
    assert found.calc.name == "continuousp"
    assert found.get_potential_energy() == pytest.approx(calc.get_potential_energy(atoms))
    np.testing.assert_allclose(found.get_stress(), calc.get_stress(atoms), atol=1e-12)


def test_the_core_needs_nothing_that_must_be_compiled() -> None:
    core = [r for r in requires("ase-continuousp") or [] if "extra ==" not in r]
    assert core
    assert not [r for r in core if r.startswith(("torch-scatter", "torch_scatter", "pyxtal"))]


# Sums and averages


def test_averages_and_mixtures(calc: ContinuouSPCalculator, folder: Path) -> None:
    atoms = rattled(bulk("Cu", cubic=True), 0.1)
    other = ContinuouSPCalculator(folder, dtype="float64")
    ours, theirs = calc.get_potential_energy(atoms), EMT().get_potential_energy(atoms)
    mean = AverageCalculator([other, EMT()])
    assert mean.get_potential_energy(atoms) == pytest.approx(0.5 * (ours + theirs))
    mixed = MixedCalculator(other, EMT(), 0.3, 0.7)
    assert mixed.get_potential_energy(atoms) == pytest.approx(0.3 * ours + 0.7 * theirs)
    assert mixed.get_energy_contributions(atoms) == pytest.approx((ours, theirs))


def test_a_sum_is_the_gradient_of_its_energy(calc: ContinuouSPCalculator) -> None:
    atoms = rattled(bulk("Cu", cubic=True), 0.1)
    atoms.calc = SumCalculator([calc, EMT()])
    assert_forces(atoms)
    assert_stress(atoms)


def test_dispersion_on_top(calc: ContinuouSPCalculator) -> None:
    d3 = pytest.importorskip("dftd3.ase")
    atoms = rattled(salt(), 0.1)
    cutoffs = {"disp2": 12.0, "disp3": 7.0, "cn": 7.0}
    dispersion = d3.DFTD3(method="PBE", damping="d3bj", realspace_cutoff=cutoffs)
    atoms.calc = SumCalculator([calc, dispersion])
    alone = copy.deepcopy(calc)
    for name in ("energy", "forces", "stress"):
        expected = alone.get_property(name, atoms) + dispersion.get_property(name, atoms)
        np.testing.assert_allclose(atoms.calc.get_property(name, atoms), expected, atol=1e-12)
    assert dispersion.get_potential_energy(atoms) < 0.0


# Filters, pressure, constraints


@needs_mp20
@pytest.mark.parametrize("kind", [FrechetCellFilter, UnitCellFilter])
def test_pressure_is_balanced_by_the_stress(kind: type) -> None:
    volumes = []
    for pressure in (0.0, 0.01):
        atoms = salt(5.7)
        atoms.calc = ContinuouSPCalculator("mp20", dtype="float64")
        optimizer = LBFGS(kind(atoms, scalar_pressure=pressure), logfile=None)
        assert optimizer.run(fmax=2e-3, steps=200)
        volumes.append(atoms.get_volume())
        np.testing.assert_allclose(atoms.get_stress()[:3], -pressure, atol=5e-4)
    assert volumes[1] < volumes[0]


def test_constraints_act_on_the_forces(calc: ContinuouSPCalculator) -> None:
    atoms = rattled(perovskite(), 0.1)
    atoms.calc = calc
    free = atoms.get_forces()
    atoms.set_constraint(FixAtoms([1, 3]))
    np.testing.assert_array_equal(atoms.get_forces()[[1, 3]], 0.0)
    np.testing.assert_array_equal(atoms.get_forces()[[0, 2, 4]], free[[0, 2, 4]])
    np.testing.assert_array_equal(atoms.get_forces(apply_constraint=False), free)


def test_a_symmetric_crystal_has_symmetric_forces_and_stress(calc: ContinuouSPCalculator) -> None:
    atoms = perovskite()
    atoms.set_cell(atoms.cell.array * [1.0, 1.0, 1.06], scale_atoms=True)
    atoms.calc = calc
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.set_constraint(FixSymmetry(atoms))
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-12)


# Copies and files


def test_a_deep_copy_of_atoms_has_a_calculator_of_its_own(calc: ContinuouSPCalculator) -> None:
    atoms = rattled(perovskite())
    atoms.calc = calc
    energy = atoms.get_potential_energy()
    other = copy.deepcopy(atoms)
    other.positions[0] += 0.1
    assert other.get_potential_energy() != energy
    assert atoms.calc.results["energy"] == energy


def test_optimizers_write_what_can_be_read_again(
    calc: ContinuouSPCalculator, tmp_path: Path
) -> None:
    atoms = rattled(perovskite(), 0.1)
    atoms.calc = calc
    energies: list[float] = []
    with BFGS(atoms, logfile=None, trajectory=tmp_path / "steps.traj") as optimizer:
        optimizer.attach(lambda: energies.append(atoms.get_potential_energy()))
        optimizer.run(fmax=0.0, steps=3)
    frames = read(tmp_path / "steps.traj", ":")
    assert [frame.get_potential_energy() for frame in frames] == energies
    for frame in frames:
        fresh = frame.copy()
        fresh.calc = calc
        np.testing.assert_allclose(frame.get_forces(), fresh.get_forces(), atol=1e-12)
    with Trajectory(tmp_path / "steps.traj") as trajectory:
        assert trajectory[-1].calc.name == "continuousp"


def test_databases_find_it_by_name_and_weights(calc: ContinuouSPCalculator, tmp_path: Path) -> None:
    for suffix in ("db", "json"):
        with connect(tmp_path / f"rows.{suffix}") as database:
            for scale in (0.95, 1.0, 1.05):
                atoms = salt(5.64 * scale)
                atoms.calc = calc
                atoms.get_potential_energy()
                database.write(atoms, scale=scale)
            plain = salt()
            database.write(plain)
        rows = list(connect(tmp_path / f"rows.{suffix}").select(calculator="continuousp"))
        assert [row.scale for row in rows] == [0.95, 1.0, 1.05]
        digest = calc.todict()["model_hash"]
        assert {row.calculator_parameters["model_hash"] for row in rows} == {digest}
        assert rows[1].energy == calc.get_potential_energy(salt(5.64))


# Other people's programs; the heavier ones are in tests/integrations


@needs_mp20
def test_pymatgen_relaxes_with_it() -> None:
    structure = AseAtomsAdaptor.get_structure(salt(5.8))
    calc = ContinuouSPCalculator("mp20", dtype="float64")
    relaxed = structure.relax(calc, optimizer="LBFGS", fmax=0.02, steps=100)
    before = calc.get_potential_energy(salt(5.8))
    assert calc.get_potential_energy(relaxed.to_ase_atoms()) < before
    assert structure.calculate(calc).results["energy"] == pytest.approx(before)


@needs_mp20
def test_phonons_of_rock_salt() -> None:
    """Force constants from displaced supercells: symmetric, cubic, no sound at Γ, all finite."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = salt(5.64)
    atoms.calc = ContinuouSPCalculator("mp20", dtype="float64")
    LBFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=200)
    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
    )
    phonons = phonopy.Phonopy(cell, np.diag([2, 2, 2]), primitive_matrix="P", log_level=0)
    phonons.generate_displacements(distance=0.01)
    assert len(phonons.supercells_with_displacements) == 2  # rock salt: one an element
    forces = []
    for displaced in phonons.supercells_with_displacements:
        image = Atoms(
            displaced.symbols, positions=displaced.positions, cell=displaced.cell, pbc=True
        )
        image.calc = atoms.calc
        forces.append(image.get_forces())
        np.testing.assert_allclose(forces[-1].sum(axis=0), 0.0, atol=1e-9)
    phonons.forces = forces
    phonons.produce_force_constants()
    constants = phonons.force_constants
    assert np.isfinite(constants).all()
    largest = np.abs(constants).max()
    np.testing.assert_allclose(constants, constants.transpose(1, 0, 3, 2), atol=0.01 * largest)
    np.testing.assert_allclose(constants.sum(axis=1), 0.0, atol=1e-6 * largest)
    phonons.symmetrize_force_constants()
    phonons.run_mesh([4, 4, 4], is_gamma_center=True)
    assert np.isfinite(phonons.mesh.frequencies).all()
    phonons.run_band_structure([np.linspace([0, 0, 0], [0.5, 0.5, 0.0], 11)])
    bands = np.concatenate(phonons.band_structure.frequencies)
    assert np.isfinite(bands).all()
    assert np.abs(bands[0, :3]).max() < 0.02 * np.abs(bands).max()
    assert np.ptp(bands[0, 3:]) < 0.02 * np.abs(bands).max()  # no charges: no LO-TO splitting
