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
