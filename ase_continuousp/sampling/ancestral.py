"""Sampling down the noise levels of a conditional energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.conditional import AtLevels
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling.annealing import AnnealResult, Progress, draw_noise
from ase_continuousp.sampling.moves import AnnealSettings, displaced, is_converged, scaled_gradients
from ase_continuousp.sampling.quench import quench
from ase_continuousp.sampling.symmetry import SymmetryProjection


def ancestral(
    energy: ModelEnergy,
    crystals: Crystals,
    settings: AnnealSettings,
    rng: np.random.Generator,
    *,
    noise: ArrayLike | None = None,
    progress: Progress | None = None,
    symmetry: SymmetryProjection | None = None,
) -> AnnealResult:
    """Sample a batch of crystals from a noise-conditional energy, then quench it.

    The gradients g = ℓ ∂U/∂r and G = (c/N) ∂U/∂ε at level s were trained to be the perturbation
    in units of s. One step goes from s to the next lower s′ as the reverse of the perturbation
    does (Ho et al. 2020, arXiv:2006.11239, for a noise that only adds)::

        Δr/ℓ = −(s² − s′²)/s g + s′ √(1 − s′²/s²) ξ

    and the cell alike. Levels fall geometrically. The quench is at the resting level of the
    network, which is also where the energies that come back were taken.

    Parameters
    ----------
    energy : ModelEnergy
        Of a :class:`ase_continuousp.model.conditional.ConditionalEnergy`.
    crystals : Crystals
    settings : AnnealSettings
        Its `step` and `saturation` mean nothing here.
    rng : numpy.random.Generator
    noise : (n_crystals,) array, optional
        Level of the first step of each crystal; 0 only quenches it.
    progress : callable, optional
        Called with the number of steps done, after each.
    symmetry : SymmetryProjection, optional
        Not to be had here.

    Returns
    -------
    AnnealResult

    Raises
    ------
    ValueError
        If a space group is to be kept.

    Examples
    --------
    >>> from ase_continuousp.model.conditional import ConditionalEnergy
    >>> energy = ModelEnergy(ConditionalEnergy(channels=8, vector_channels=4, n_layers=2))
    >>> po = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> short = AnnealSettings(n_steps=2, quench_steps=2)
    >>> ancestral(energy, po, short, np.random.default_rng(0)).trace.shape[1]
    1
    """
    if symmetry is not None:
        raise ValueError("spacegroup: a noise-conditional model cannot keep a space group")
    start = np.full(crystals.n_crystals, settings.level) if noise is None else noise
    start = np.broadcast_to(np.asarray(start, dtype=np.float64), (crystals.n_crystals,))
    draws = draw_noise(crystals, settings.n_steps, rng.spawn(crystals.n_crystals))
    moving, first = start > 0, np.maximum(start, settings.lowest_level)
    trace = []
    for i in range(settings.n_steps):
        level, following = (_level(first, settings, k) for k in (i, i + 1))
        found = _at(energy, level)(crystals)
        trace.append(found.energy / crystals.counts)
        drift = np.where(moving, (level**2 - following**2) / level, 0.0)
        kick = np.where(moving, following * np.sqrt(1.0 - (following / level) ** 2), 0.0)
        g, strain_g = scaled_gradients(crystals, found, settings.strain_scale)
        index = crystals.crystal_index
        moves = -drift[index, None] * g + kick[index, None] * draws[i][0]
        shake = kick / np.sqrt(crystals.counts)
        strains = -drift[:, None, None] * strain_g + shake[:, None, None] * draws[i][1]
        moved = displaced(crystals, moves, strains, settings)[0]
        # A crystal whose gradient is not finite stays where it is.
        crystals = moved.where(found.is_finite, crystals)
        if progress is not None:
            progress(i + 1)
    found = energy(crystals)
    trace.append(found.energy / crystals.counts)
    resting = float(energy.network.hyperparameters["resting_level"])
    careful = replace(settings, quench_step=resting)  # a gradient is in units of the level
    crystals, found, quenched = quench(
        energy, crystals, found, careful, progress=progress, done=settings.n_steps
    )
    trace += quenched
    converged = is_converged(crystals, found, settings)
    crystals = reduce_crystals(crystals).wrapped()
    found = energy(crystals)
    return AnnealResult(crystals, found, converged & found.is_finite, np.array(trace))


def _level(first: np.ndarray, settings: AnnealSettings, step: int) -> np.ndarray:
    done = step / max(1, settings.n_steps)
    level: np.ndarray = first * (np.minimum(first, settings.lowest_level) / first) ** done
    return level


def _at(energy: ModelEnergy, levels: np.ndarray) -> ModelEnergy:
    wanted = torch.from_numpy(np.ascontiguousarray(levels)).to(energy.device)
    return ModelEnergy(
        AtLevels(energy.network, wanted),
        dtype=energy.dtype,
        device=energy.device,
        length=energy.length,
    )
