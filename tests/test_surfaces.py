"""Vacuum: what is refused, what is warned of, and the fixed length that makes it harmless."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from scipy.spatial.transform import Rotation

from ase_continuousp import ContinuouSPCalculator
from ase_continuousp.io import from_atoms
from ase_continuousp.testing import assert_continuous, assert_forces, assert_stress
from ase_continuousp.vacuum import has_vacuum, widest_gap
from tests.systems import OTHER, PERIODIC, rattled, system
from tests.tiny_model import ELEMENTS, save_tiny_model

SALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
LENGTH = float(np.cbrt(SALT.get_volume() / len(SALT)))
WARNING = r"a layer of .* Å holds no atom.*pass length="


def slab(vacuum: float, pbc: object = True) -> Atoms:
    atoms = rattled(SALT, 0.1)
    atoms.positions[:, 2] += 0.25 * vacuum
    cell = atoms.cell.array.copy()
    cell[2, 2] += vacuum
    atoms.set_cell(cell)
    atoms.pbc = pbc
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), priors=False)


@pytest.fixture(scope="module")
def fixed(folder: Path) -> ContinuouSPCalculator:
    return ContinuouSPCalculator(folder, dtype="float64", length=LENGTH)


# How vacuum is told from a crystal


@pytest.mark.parametrize("name", sorted(set(PERIODIC) - {"needle", "huge_cell"}))
def test_crystals_have_no_vacuum(name: str) -> None:
    assert not has_vacuum(from_atoms(system(name)))


@pytest.mark.parametrize("basis", [np.eye(3), [[1, 0, 1], [0, 1, 0], [0, 0, 1]], -np.eye(3)])
@pytest.mark.parametrize("n_cells", [1, 2])
def test_an_empty_layer_is_seen_in_any_usual_basis(basis: object, n_cells: int) -> None:
    atoms = fcc111("Cu", (1, 1, 4), vacuum=6.5, periodic=True)
    atoms = atoms.repeat((1, 1, n_cells))
    atoms.set_cell(np.asarray(basis) @ atoms.cell.array)
    atoms.positions += [0.3, 0.4, 5.0]
    assert widest_gap(from_atoms(atoms)) == pytest.approx(13.0, abs=1e-9)
    assert has_vacuum(from_atoms(atoms))


def test_wires_and_molecules_are_seen_too() -> None:
    wire = Atoms("NaCl", [[0, 0, 0], [2.8, 0, 0]], cell=[5.6, 14.0, 15.0], pbc=True)
    boxed = molecule("H2O", vacuum=5.0, pbc=True)
    for atoms in (wire, boxed, system("needle"), system("huge_cell")):
        assert has_vacuum(from_atoms(atoms))


# Without a length: refused or warned of


def test_vacuum_in_a_periodic_cell_is_warned_of_once(folder: Path) -> None:
    calc = ContinuouSPCalculator(folder, dtype="float64")
    with pytest.warns(UserWarning, match=WARNING):
        thin = calc.get_potential_energy(slab(8.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thick = calc.get_potential_energy(slab(16.0))
        ContinuouSPCalculator(folder).get_potential_energy(SALT)
    assert abs(thick - thin) > 1e-6 * abs(thin)  # what the warning is about


@pytest.mark.parametrize("name", OTHER)
def test_open_directions_name_the_remedy(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"3-D periodic cell.*pass length="):
        ContinuouSPCalculator(folder).get_potential_energy(system(name))


# With a length


def test_the_bulk_crystal_stays_what_it_is(folder: Path, fixed: ContinuouSPCalculator) -> None:
    atoms = rattled(SALT, 0.1)
    free = ContinuouSPCalculator(folder, dtype="float64")
    assert fixed.get_potential_energy(atoms) == pytest.approx(
        free.get_potential_energy(atoms), rel=1e-12
    )
    np.testing.assert_allclose(fixed.get_forces(atoms), free.get_forces(atoms), atol=1e-10)
    assert np.abs(fixed.get_stress(atoms) - free.get_stress(atoms)).max() > 1e-6
    atoms.calc = fixed
    assert_stress(atoms)


def test_nothing_depends_on_the_vacuum(fixed: ContinuouSPCalculator) -> None:
    reach = fixed._energy.network.cutoff_ratio * LENGTH
    thin = slab(1.1 * reach)
    energy, forces = fixed.get_potential_energy(thin), fixed.get_forces(thin)
    for other in (slab(4.0 * reach), slab(1.1 * reach, (True, True, False)), slab(0.0, (1, 1, 0))):
        assert fixed.get_potential_energy(other) == pytest.approx(energy, rel=1e-10)
        np.testing.assert_allclose(fixed.get_forces(other), forces, atol=1e-10)
    assert abs(fixed.get_potential_energy(slab(0.0)) - energy) > 1e-6


@pytest.mark.parametrize("name", OTHER)
def test_open_systems_have_energies_and_forces_but_no_stress(
    fixed: ContinuouSPCalculator, name: str
) -> None:
    atoms = system(name)
    if not set(atoms.numbers) <= set(ELEMENTS):
        atoms.numbers[:] = 29
    turned = atoms.copy()
    rotation = Rotation.random(random_state=np.random.default_rng(0)).as_matrix()
    turned.set_cell(atoms.cell.array @ rotation)
    turned.positions = atoms.positions @ rotation + 3.0
    energy = fixed.get_potential_energy(atoms)
    assert fixed.get_potential_energy(turned) == pytest.approx(energy, rel=1e-10)
    assert np.isfinite(fixed.get_forces(atoms)).all()
    assert "stress" not in fixed.results
    with pytest.raises(PropertyNotImplementedError):
        fixed.get_stress(atoms)
    assert atoms == system(name) or not set(system(name).numbers) <= set(ELEMENTS)


def test_derivatives_beside_vacuum(fixed: ContinuouSPCalculator) -> None:
    for atoms in (slab(9.0, (True, True, False)), slab(9.0)):
        atoms.calc = fixed
        assert_forces(atoms)
    assert_stress(atoms)


def test_no_jump_when_an_atom_leaves_or_the_vacuum_opens(fixed: ContinuouSPCalculator) -> None:
    first = slab(0.5)
    first.calc = fixed
    last = slab(10.0)
    last.positions[0] += [0.5, 1.0, 4.0]
    assert_continuous(first, last, n_steps=(40, 400))


@pytest.mark.parametrize("wrong", [0, -2.8, float("nan"), float("inf"), "2.8"])
def test_impossible_lengths_are_refused(folder: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match="length must be a positive number"):
        ContinuouSPCalculator(folder, length=wrong)


def test_bad_cells_and_positions_are_named(fixed: ContinuouSPCalculator) -> None:
    with pytest.raises(ValueError, match="independent vector along each periodic direction"):
        fixed.get_potential_energy(Atoms("Cu", pbc=(True, False, False)))
    with pytest.raises(ValueError, match="positions must be finite"):
        fixed.get_potential_energy(Atoms("Cu", [[np.nan, 0, 0]]))
    with pytest.raises(ValueError, match="at least one atom"):
        fixed.get_potential_energy(Atoms())


def test_the_length_is_a_parameter_like_others(folder: Path) -> None:
    calc = ContinuouSPCalculator(folder, dtype="float64")
    free = calc.get_potential_energy(SALT)
    assert calc.set(length=np.float32(3.5)) == {"length": 3.5}
    assert calc.results == {}
    assert calc.get_potential_energy(SALT) != free
    assert json.loads(json.dumps(calc.todict()))["length"] == 3.5
