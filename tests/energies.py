"""Solvable energies of positions and cell, with hand-written derivatives, for sampler tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation


@dataclass(frozen=True)
class EinsteinCrystal:
    """Atoms on springs to sites that follow the cell, and a cell that resists volume and shape.

    E = k/2 Σ |rᵢ − sᵢ L|² + K/2 (log V/V₀)² + G (tr(L Lᵀ) / V^(2/3) − 3)

    It is invariant to rotation, but of course not to the choice of images.
    """

    sites: np.ndarray
    spring: float = 2.0
    bulk: float = 20.0
    shape: float = 3.0
    volume: float = 40.0

    def __call__(self, crystals: Crystals) -> Evaluation:
        sites = np.tile(self.sites, (crystals.n_crystals, 1))
        off = crystals.positions - np.einsum(
            "ax,axy->ay", sites, crystals.cells[crystals.crystal_index]
        )
        energies = 0.5 * self.spring * np.sum(off**2, axis=1)
        first = crystals.offsets[:-1]
        log_ratio = np.log(crystals.volumes / self.volume)
        cells, volumes = crystals.cells, crystals.volumes
        scale = volumes ** (-2.0 / 3.0)
        square = np.einsum("bix,biy->bxy", cells, cells)  # Lᵀ L
        trace = np.trace(square, axis1=1, axis2=2)
        energy = (
            np.add.reduceat(energies, first)
            + 0.5 * self.bulk * log_ratio**2
            + self.shape * (trace * scale - 3.0)
        )
        virial = self.spring * np.add.reduceat(off[:, :, None] * off[:, None, :], first)
        identity = np.eye(3)
        virial += (self.bulk * log_ratio)[:, None, None] * identity
        virial += (
            2.0
            * self.shape
            * scale[:, None, None]
            * (square - trace[:, None, None] / 3.0 * identity)
        )
        share = np.repeat(energy / crystals.counts, crystals.counts)
        return Evaluation(energy, share, -self.spring * off, virial / volumes[:, None, None])


@dataclass(frozen=True)
class PeriodicPair:
    """A smooth energy of the infinite crystal: all pairs of images, weights Gaussian in distance.

    Invariant to everything that a crystal energy is invariant to, up to the truncation of the
    sum over images, which is far below rounding for the cells of the tests.
    """

    width: float = 1.0
    strength: float = 1.5
    density: float = 0.05
    reach: int = 5

    def __call__(self, crystals: Crystals) -> Evaluation:
        energy, forces, stress = [], [], []
        grid = np.arange(-self.reach, self.reach + 1)
        images = np.array(np.meshgrid(grid, grid, grid)).reshape(3, -1).T
        for one in crystals:
            shifts = images @ one.cells[0]
            d = one.positions[None, :, None] - one.positions[:, None, None] + shifts
            square = np.sum(d**2, axis=-1)
            weight = self.strength * np.exp(-square / (2.0 * self.width**2))
            log_density = np.log(one.n_atoms / one.volumes[0] / self.density)
            energy.append(0.5 * weight.sum() + one.n_atoms * log_density**2)
            pull = weight[..., None] * d / self.width**2  # −∂w/∂d
            forces.append(pull.sum(axis=(0, 2)))
            virial = -0.5 * np.einsum("ijsx,ijsy->xy", pull, d)
            virial -= 2.0 * one.n_atoms * log_density * np.eye(3)
            stress.append(virial / one.volumes[0])
        total = np.array(energy)
        return Evaluation(
            total,
            np.repeat(total / crystals.counts, crystals.counts),
            np.concatenate(forces),
            np.array(stress),
        )


@dataclass(frozen=True)
class TwoWells:
    """Two wells along x with a high barrier between them, the left one lower; one atom a crystal.

    E = h (x² − 1)² + a x + k/2 (y² + z²)
    """

    barrier: float = 8.0
    tilt: float = 0.2
    spring: float = 16.0

    def __call__(self, crystals: Crystals) -> Evaluation:
        x, others = crystals.positions[:, 0], crystals.positions[:, 1:]
        energy = self.along(x) + 0.5 * self.spring * np.sum(others**2, axis=1)
        slope = 4.0 * self.barrier * x * (x**2 - 1.0) + self.tilt
        force = -np.column_stack([slope, self.spring * others])
        return Evaluation(energy, energy, force, np.zeros((crystals.n_crystals, 3, 3)))

    def along(self, x: np.ndarray) -> np.ndarray:
        return self.barrier * (x**2 - 1.0) ** 2 + self.tilt * x

    def right_share(self, temperature: float) -> float:
        """Return the weight of the well at x > 0, by quadrature."""
        x, weight = self._weights(temperature)
        return float(weight[x > 0.0].sum() / weight.sum())

    def log_z(self, temperature: float) -> float:
        """Return log ∫ exp(−E/T), up to a constant."""
        _, weight = self._weights(temperature)
        return float(np.log(weight.sum()) + np.log(temperature))

    def _weights(self, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        x = np.linspace(-3.0, 3.0, 6000)  # even: no point lies on the border
        return x, np.exp(-self.along(x) / temperature)
