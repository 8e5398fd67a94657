"""Moves of batches of crystals in units of ℓ = (V/N)^(1/3), and the settings of an anneal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.lattice import symmetric_exponential

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AnnealSettings:
    """Schedule of an anneal, in units of ℓ = (V/N)^(1/3).

    Parameters
    ----------
    n_steps : int
        Noisy steps.
    step : float
        α: share of the way back to the truth that a noisy step goes.
    level, lowest_level : float
        Noise level s of the first and of the last noisy step; it falls linearly.
    saturation : float
        s₀ of the gradient h = s/(s + s₀) that the model was trained to have at level s.
    quench_steps : int
        Largest number of noiseless steps after it.
    quench_step : float
        First drift per unit gradient in the quench, which then finds its own.
    strain_scale : float
        c: a strain of c counts as much as a displacement of ℓ.
    largest : float
        Longest displacement, and largest strain over c, in one step.
    tolerance : float
        A crystal is converged if no gradient (per ℓ, and per c and atom for the cell) exceeds it.
    reheats : int
        How often a crystal is heated again after its quench, cooled and quenched; the lowest
        minimum is kept.
    reheat_level : float
        Noise level s at which that begins.
    reheat_steps : int
        Noisy steps each time.

    Raises
    ------
    ValueError
        If a number of steps or reheats is negative, a length not positive, or `step` not between 0
        and 2, where the drift would overshoot.
    """

    n_steps: int = 200
    step: float = 0.9
    level: float = 0.2
    lowest_level: float = 0.02
    saturation: float = 0.1
    quench_steps: int = 60
    quench_step: float = 0.08
    strain_scale: float = 0.6
    largest: float = 0.3
    tolerance: float = 0.02
    reheats: int = 0
    reheat_level: float = 0.4
    reheat_steps: int = 120

    def __post_init__(self) -> None:
        lengths = ("level", "lowest_level", "reheat_level")
        for name in ("n_steps", "quench_steps", "reheats", "reheat_steps", *lengths):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        if not 0 < self.step < 2:
            raise ValueError(f"step must lie between 0 and 2: {self.step}")
        for name in ("saturation", "quench_step", "strain_scale", "largest", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive: {getattr(self, name)}")


def scaled_gradients(
    crystals: Crystals, found: Evaluation, strain_scale: float
) -> tuple[Floats, Floats]:
    """Return g = ℓ ∂U/∂r, (n_atoms, 3), and G = (c/N) ∂U/∂ε, (n_crystals, 3, 3).

    They are the gradient over x = r/ℓ and y = ε/c in the metric |dx|² + N |dy|².
    """
    g = -found.forces * crystals.lengths[crystals.crystal_index, None]
    scale = strain_scale * crystals.volumes / crystals.counts
    return g, found.stress * scale[:, None, None]


def displaced(
    crystals: Crystals, moves: Floats, strains: Floats, settings: AnnealSettings
) -> tuple[Crystals, Floats, Floats]:
    """Move atoms by ℓ Δx and cells by L ← L exp(c Δy), both limited in length.

    Parameters
    ----------
    crystals : Crystals
    moves : (n_atoms, 3) array
        Δx.
    strains : (n_crystals, 3, 3) array
        Δy, symmetric.
    settings : AnnealSettings

    Returns
    -------
    Crystals, and the moves and strains that were made; zero where they were not finite.
    """
    moves = np.nan_to_num(moves, nan=0.0, posinf=0.0, neginf=0.0)
    strains = np.nan_to_num(strains, nan=0.0, posinf=0.0, neginf=0.0)
    moves = moves * _limit(np.linalg.norm(moves, axis=1), settings.largest)[:, None]
    strains = (
        strains * _limit(np.linalg.norm(strains, axis=(1, 2)), settings.largest)[:, None, None]
    )
    index = crystals.crystal_index
    stretch = symmetric_exponential(settings.strain_scale * strains)
    positions = crystals.positions + crystals.lengths[index, None] * moves
    positions = np.einsum("ax,axy->ay", positions, stretch[index])
    cells = crystals.cells @ stretch
    return Crystals(positions, cells, crystals.numbers, crystals.offsets), moves, strains


def is_converged(
    crystals: Crystals, found: Evaluation, settings: AnnealSettings
) -> NDArray[np.bool_]:
    """Return whether no gradient of a crystal exceeds the tolerance, (n_crystals,)."""
    g, strain_g = scaled_gradients(crystals, found, settings.strain_scale)
    atoms = np.maximum.reduceat(np.linalg.norm(g, axis=1), crystals.offsets[:-1])
    cells = np.linalg.norm(strain_g, axis=(1, 2))
    small: NDArray[np.bool_] = (atoms < settings.tolerance) & (cells < settings.tolerance)
    return small


def _limit(norms: Floats, largest: float) -> Floats:
    limited: Floats = np.minimum(1.0, largest / np.maximum(norms, 1e-30))
    return limited
