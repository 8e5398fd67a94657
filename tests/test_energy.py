"""The energies: derivatives against oracles, exact invariance, continuity."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.lattice import symmetric_exponential
from ase_continuousp.model.basis import filter_matrix
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.pairs import Graph, TorchPairs, spline
from ase_continuousp.model.paper import PaperEnergy
from ase_continuousp.neighborlist import search
from tests import strategies
from tests.systems import PERIODIC, supercell, system


def default_energy(dtype=torch.float64, pairs=None):
    torch.manual_seed(3)
    network = ContinuousEnergy(channels=12, vector_channels=6)
    # Random filters alone are too weak to show a fault.
    for layer in network.layers:
        layer.filters.data *= 3
    if pairs is not None:
        network.pairs = pairs
    return ModelEnergy(network, dtype=dtype)


def paper_energy(dtype=torch.float64):
    torch.manual_seed(3)
    return ModelEnergy(PaperEnergy(channels=12), dtype=dtype)


ENERGIES = {"continuous": default_energy(), "paper": paper_energy()}
KINDS = pytest.mark.parametrize("kind", ENERGIES)


def per_atom(energy, atoms):
    return energy(from_atoms(atoms)).energy[0] / len(atoms)


@pytest.mark.parametrize("seed", range(4))
def test_fused_pairs_equal_plain_torch(seed):
    rng = np.random.default_rng(seed)
    batch = from_atoms([strategies.random_atoms(rng, n, density=0.08) for n in (1, 5, 12, 2)])
    fused, plain = default_energy()(batch), default_energy(pairs=TorchPairs())(batch)
    for name in ("energy", "energies", "forces", "stress"):
        expected = getattr(plain, name)
        np.testing.assert_allclose(
            getattr(fused, name), expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max()
        )


def test_fused_parameter_gradients_equal_plain_torch():
    crystals = from_atoms(strategies.random_atoms(np.random.default_rng(0), 7))
    gradients = []
    for pairs in (None, TorchPairs()):
        network = default_energy(pairs=pairs).network.requires_grad_(True)
        neighbors = search(crystals, network.cutoff_ratio * crystals.lengths)
        graph = Graph.of(crystals, neighbors, torch.float64, torch.device("cpu"))
        positions, cells = map(torch.from_numpy, (crystals.positions, crystals.cells))
        network.atomic_energies(graph, positions, cells).square().sum().backward()
        gradients.append({k: p.grad for k, p in network.named_parameters()})
    assert all(g is not None for g in gradients[0].values())
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-9, atol=1e-11)


@KINDS
@pytest.mark.parametrize("seed", range(5))
def test_forces_and_stress_equal_central_differences(kind, seed):
    energy = ENERGIES[kind]
    rng = np.random.default_rng(seed)
    atoms = strategies.random_atoms(rng, int(rng.integers(2, 9)), min_distance=1.0)
    crystals = from_atoms(atoms)
    found = energy(crystals)
    direction, h = rng.normal(size=crystals.positions.shape), 1e-5

    def moved(step):
        shifted = crystals.positions + step * direction
        return energy(Crystals.single(shifted, crystals.cells[0], crystals.numbers)).energy[0]

    slope = -np.sum(found.forces * direction)
    assert (moved(h) - moved(-h)) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    raw = rng.normal(size=(3, 3))
    strain = raw + raw.T

    def stretched(step):
        stretch = symmetric_exponential(step * strain)
        return energy(
            Crystals.single(
                crystals.positions @ stretch, crystals.cells[0] @ stretch, atoms.numbers
            )
        ).energy[0]

    slope = np.sum(found.stress[0] * strain) * crystals.volumes[0]
    assert (stretched(h) - stretched(-h)) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@KINDS
def test_batch_equals_singles(kind):
    energy = ENERGIES[kind]
    crystals = from_atoms([system(name) for name in ("rutile", "one_atom", "skewed", "hcp")])
    together = energy(crystals)
    for b, one in enumerate(crystals):
        alone = energy(one)
        atoms = slice(*crystals.offsets[b : b + 2])
        np.testing.assert_allclose(together.forces[atoms], alone.forces, atol=1e-12)
        np.testing.assert_allclose(together.stress[b], alone.stress[0], atol=1e-12)


@KINDS
@settings(max_examples=15)
@given(
    atoms=strategies.atoms(max_atoms=6),
    shift=strategies.translations(),
    rotation=strategies.rotations(improper=True),
    basis=strategies.unimodular(),
    cells=strategies.supercells(),
    rng=strategies.rngs(),
)
def test_energy_per_atom_does_not_depend_on_the_description(
    kind, atoms, shift, rotation, basis, cells, rng
):
    energy = ENERGIES[kind]
    expected = per_atom(energy, atoms)
    described = supercell(atoms, cells @ basis)
    described = described[rng.permutation(len(described))]
    described.set_cell(described.cell.array @ rotation, scale_atoms=False)
    described.positions = described.positions @ rotation + shift
    assert per_atom(energy, described) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@KINDS
@settings(max_examples=10)
@given(atoms=strategies.atoms(min_atoms=2, max_atoms=6), rotation=strategies.rotations())
def test_forces_and_stress_turn_with_the_crystal(kind, atoms, rotation):
    energy = ENERGIES[kind]
    found = energy(from_atoms(atoms))
    atoms.set_cell(atoms.cell.array @ rotation, scale_atoms=False)
    atoms.positions = atoms.positions @ rotation
    turned = energy(from_atoms(atoms))
    scale = 1e-9 * (1 + np.abs(found.forces).max())
    np.testing.assert_allclose(turned.forces, found.forces @ rotation, atol=scale)
    np.testing.assert_allclose(turned.forces.sum(axis=0), 0.0, atol=scale)
    np.testing.assert_allclose(
        turned.stress[0], rotation.T @ found.stress[0] @ rotation, atol=scale
    )


@KINDS
def test_energy_is_continuous_where_atoms_meet_and_faces_are_crossed(kind):
    """The largest step shrinks in proportion to the step length, so there is no jump."""
    energy = ENERGIES[kind]
    atoms = system("perovskite_rattled")
    start = atoms.positions.copy()
    # The second atom flies through the place of the first and out of the cell.
    path = 2.0 * (start[0] - start[1]) + np.array([0.0, 0.0, 0.004])
    largest = []
    for n in (50, 500):
        frames = []
        for t in np.linspace(0.0, 1.0, n + 1):
            atoms.positions = start
            atoms.positions[1] += t * path
            frames.append(from_atoms(atoms))
        energies = energy(Crystals.concatenate(frames)).energy
        largest.append(np.abs(np.diff(energies)).max())
    assert largest[1] < 0.2 * largest[0]


@KINDS
def test_energy_is_continuous_as_pairs_cross_the_cutoff(kind):
    energy = ENERGIES[kind]
    crystals = from_atoms(system("skewed"))
    largest = []
    for n in (50, 500):
        stretches = [np.diag([1.0 + t, 1.0, 1.0 - t / 2]) for t in np.linspace(0.0, 0.4, n + 1)]
        frames = [
            Crystals.single(crystals.positions @ m, crystals.cells[0] @ m, crystals.numbers)
            for m in stretches
        ]
        assert len({search(f, energy.network.cutoff_ratio * f.lengths).n_pairs for f in frames}) > 5
        largest.append(np.abs(np.diff(energy(Crystals.concatenate(frames)).energy)).max())
    assert largest[1] < 0.2 * largest[0]


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coincident_atoms_have_finite_energy_and_forces(kind, dtype):
    energy = {"continuous": default_energy, "paper": paper_energy}[kind](dtype)
    atoms = system("rutile")
    atoms.positions[1] = atoms.positions[0]
    found = energy(from_atoms(atoms))
    assert np.isfinite(found.forces).all()
    assert found.is_finite.all()


@KINDS
def test_forces_are_continuous_at_coincidence_for_the_default_energy(kind):
    atoms = system("rutile")
    forces = []
    for side in (-1e-7, 1e-7):
        atoms.positions[1] = atoms.positions[0] + (side, 0, 0)
        forces.append(ENERGIES[kind](from_atoms(atoms)).forces[:2])
    if kind == "continuous":  # even splines; the distance of the paper's energy has a kink
        np.testing.assert_allclose(forces[0], forces[1], atol=1e-6)


@pytest.mark.parametrize("name", PERIODIC)
def test_single_precision_is_near_double(name):
    crystals = from_atoms(system(name))
    one, two = default_energy(torch.float32)(crystals), default_energy()(crystals)
    assert one.energy[0] == pytest.approx(two.energy[0], rel=2e-5, abs=2e-5)
    np.testing.assert_allclose(one.forces, two.forces, atol=2e-4 * (1 + np.abs(two.forces).max()))


@settings(max_examples=20)
@given(st.floats(0.1, 1.7))
def test_splines_follow_their_gaussians(distance):
    """At the knots' density chosen, the spline reproduces basis and envelope to some percent."""
    kappa, n_basis, n = 1.8, 18, 32
    matrix = filter_matrix(kappa, n_basis, n)
    values = spline(torch.tensor([distance], dtype=torch.float64), matrix, kappa / n)[0].numpy()
    centers = np.linspace(0.0, kappa, n_basis + 1)[:n_basis]
    gaussians = np.exp(-0.5 * ((distance - centers) / (kappa / n_basis)) ** 2)
    expected = gaussians * np.cos(0.5 * np.pi * distance / kappa) ** 2 * (distance < kappa)
    np.testing.assert_allclose(values[1:], expected[1:], atol=0.07)


def test_splines_vanish_smoothly_at_the_cutoff_and_are_even():
    matrix = filter_matrix(1.8, 18, 32)
    x = torch.tensor([1.8 - 1e-4, 1.8, 1e-4], dtype=torch.float64, requires_grad=True)
    values = spline(x, matrix, 1.8 / 32)
    slopes = torch.autograd.grad(values[:, 0].sum(), x)[0]
    assert values[:2].abs().max() < 1e-10
    assert slopes[:2].abs().max() < 1e-6
    assert abs(slopes[2]) < 2e-2 * values[2, 0]  # the slope at zero distance tends to zero
