"""The acceptance ratio under constraints is that of the constrained proposal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixedLine, FixedPlane, FixSymmetry

from ase_continuousp.crystals import Crystals
from ase_continuousp.sampling import Displacement, SamplerState, SymmetryProjection, langevin
from ase_continuousp.sampling.annealing import AnnealSettings, anneal
from ase_continuousp.sampling.constraints import coordinates_of
from ase_continuousp.sampling.coordinates import ProjectedCoordinates, StrainCoordinates
from tests.energies import PeriodicPair
from tests.flow import flow_asymmetry, reversed_drift

ENERGY = PeriodicPair(reach=4)


def crystal_of(atoms):
    return Crystals.single(atoms.positions, atoms.cell.array, atoms.numbers)


def rutile():
    """Rutile has one free position and two free cell lengths."""
    u, a, c = 0.29, 5.4, 3.9
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0)]
    places += [(0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    return Atoms("Cu2Au4", scaled_positions=places, cell=[a, a, c], pbc=True)


def rattled():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Ni"
    atoms.rattle(0.2, seed=1)
    return atoms


def constrained(kind):
    if kind is FixSymmetry:
        atoms = rutile()
        atoms.set_constraint(FixSymmetry(atoms))
        return atoms
    atoms = rattled()
    atoms.set_constraint(
        {
            FixAtoms: lambda: FixAtoms([0, 2]),
            FixCom: FixCom,
            FixCartesian: lambda: FixCartesian([1], (True, False, True)),
            FixedLine: lambda: FixedLine([0, 3], (1.0, 2.0, 0.5)),
            FixedPlane: lambda: FixedPlane([1], (1.0, 1.0, 0.0)),
        }[kind]()
    )
    return atoms


CASES = [(kind, False) for kind in (FixAtoms, FixCom, FixSymmetry, FixedLine, FixedPlane)]
CASES += [(FixCartesian, False), (FixAtoms, True), (FixCom, True), (FixSymmetry, True)]


@pytest.mark.parametrize(("kind", "move_cell"), CASES)
def test_detailed_balance_under_a_constraint(kind, move_cell):
    atoms = constrained(kind)
    coordinates = coordinates_of(atoms, move_cell=move_cell)
    for seed in range(2):
        asymmetry = flow_asymmetry(coordinates, ENERGY, seed, here=crystal_of(atoms))
        np.testing.assert_allclose(asymmetry, 0.0, atol=1e-10)


@pytest.mark.parametrize(("kind", "move_cell"), CASES)
def test_noise_and_drift_lie_in_what_a_constraint_allows(kind, move_cell):
    # The ratio alone does not tell: what leaves the space cancels in it.
    atoms = constrained(kind)
    coordinates, crystal = coordinates_of(atoms, move_cell=move_cell), crystal_of(atoms)
    push = np.random.default_rng(1).standard_normal((len(atoms), 3))
    found = ENERGY(crystal)
    found = replace(found, forces=found.forces + push)
    noise = coordinates.noise(crystal, np.random.default_rng(0))
    for y in (noise, coordinates.slope(crystal, found)):
        bare = atoms.copy()
        bare.set_constraint()
        allowed = y.atoms.copy()
        for constraint in atoms.constraints:
            constraint.adjust_forces(bare, allowed)
        np.testing.assert_allclose(y.atoms, allowed, atol=1e-10)
        assert np.abs(allowed).max() > 0.1


@pytest.mark.parametrize("kind", [FixCom, FixSymmetry])
def test_it_fails_under_a_constraint_with_the_drift_reversed(kind, monkeypatch):
    atoms = constrained(kind)
    monkeypatch.setattr(langevin, "log_proposal", reversed_drift)
    asymmetry = flow_asymmetry(
        coordinates_of(atoms, move_cell=True), ENERGY, 0, here=crystal_of(atoms)
    )
    assert np.abs(asymmetry).max() > 1e-3


# The symmetry of a batch


def batch():
    centered = bulk("Cu", cubic=True)  # four centerings: every operation four times
    hexagonal = bulk("Mg", "hcp", a=3.2, c=5.2)
    low = rattled()
    return Crystals.concatenate([crystal_of(a) for a in (rutile(), centered, hexagonal, low)])


def is_kept(crystals, n_operations, symprec=1e-8):
    return np.array_equal(SymmetryProjection.of(crystals, symprec).n_operations, n_operations)


def test_projection_is_orthogonal_and_of_the_right_rank():
    crystals = batch()
    projection = SymmetryProjection.of(crystals)
    assert projection.n_operations.tolist() == [16, 192, 24, 1]
    atoms = projection.atoms.toarray()
    np.testing.assert_allclose(atoms @ atoms, atoms, atol=1e-12)
    np.testing.assert_allclose(atoms, atoms.T, atol=1e-12)
    ranks = [
        np.trace(atoms[3 * a : 3 * b, 3 * a : 3 * b])
        for a, b in zip(crystals.offsets[:-1], crystals.offsets[1:], strict=True)
    ]
    np.testing.assert_allclose(ranks, [1.0, 0.0, 0.0, 12.0], atol=1e-9)
    # Free lengths and angles; without symmetry also the rotations, which the strain has not.
    cells = np.trace(projection.cells, axis1=1, axis2=2)
    np.testing.assert_allclose(cells, [2.0, 1.0, 2.0, 9.0], atol=1e-9)
    strains = StrainCoordinates().noise(crystals.select([2]), np.random.default_rng(0)).cells
    kept = SymmetryProjection.of(crystals.select([2]))(
        crystals.select([2]), Displacement(np.zeros((2, 3)), strains)
    ).cells[0]
    np.testing.assert_allclose(kept, np.diag([kept[0, 0], kept[0, 0], kept[2, 2]]), atol=1e-12)


def test_projection_agrees_with_the_constraint_of_ase():
    atoms = constrained(FixSymmetry)
    crystal, rng = crystal_of(atoms), np.random.default_rng(3)
    ours = ProjectedCoordinates(StrainCoordinates(), SymmetryProjection.of(crystal))
    theirs = coordinates_of(atoms, move_cell=True)
    one = ours.noise(crystal, rng)
    other = theirs.noise(crystal, np.random.default_rng(3))
    np.testing.assert_allclose(one.atoms, other.atoms, atol=1e-10)
    np.testing.assert_allclose(one.cells, other.cells, atol=1e-10)


def test_detailed_balance_of_symmetric_batches():
    crystals = batch().select([0, 2])
    coordinates = ProjectedCoordinates(StrainCoordinates(), SymmetryProjection.of(crystals))
    asymmetry = flow_asymmetry(coordinates, ENERGY, 1, here=crystals)
    np.testing.assert_allclose(asymmetry, 0.0, atol=1e-10)


def test_chains_stay_in_their_space_groups():
    crystals = batch().select([0, 1])
    projection = SymmetryProjection.of(crystals)
    coordinates = ProjectedCoordinates(StrainCoordinates(), projection)
    state = SamplerState.start(crystals, ENERGY, np.random.default_rng(0))
    for _ in range(25):
        state, _ = langevin.step(state, ENERGY, coordinates, temperature=1.0, step_size=0.05)
    assert np.all(state.accepted > 5)
    assert is_kept(state.crystals, [16, 192])
    lengths = np.linalg.norm(state.crystals.cells, axis=2)
    assert abs(lengths[0, 2] - 3.9) > 1e-2
    u = state.crystals.fractional[2, 0]
    assert abs(u - 0.29) > 1e-3


@pytest.mark.parametrize("reheats", [0, 2])
def test_short_anneals_stay_in_their_space_groups(reheats):
    crystals = batch().select([0, 1])
    projection = SymmetryProjection.of(crystals)

    def rough(c):
        # Rounding of a network in single precision, far beyond that of this energy.
        found = PeriodicPair(reach=3)(c)
        noise = 1e-4 * np.random.default_rng(int(1e6 * c.volumes[0])).standard_normal(
            found.forces.shape
        )
        return type(found)(found.energy, found.energies, found.forces + noise, found.stress)

    settings = AnnealSettings(n_steps=8, quench_steps=6, reheats=reheats, reheat_steps=8)
    kept = anneal(rough, crystals, settings, np.random.default_rng(0), symmetry=projection)
    assert is_kept(kept.crystals, projection.n_operations, 1e-6)
    assert np.abs(kept.crystals.volumes - crystals.volumes).min() > 1e-2
    free = anneal(rough, crystals, settings, np.random.default_rng(0))
    assert not is_kept(free.crystals, projection.n_operations, 1e-3)
