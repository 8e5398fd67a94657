"""Descent of a whole batch to the nearest minima, each crystal with a step length of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation
from ase_continuousp.sampling.moves import (
    AnnealSettings,
    displaced,
    is_converged,
    scaled_gradients,
)

Floats = NDArray[np.float64]

# Bounds on the step length against the first: stiff directions need far less (the bottom of a
# funnel may be much narrower than s₀), soft ones far more.
_SHORTEST, _LONGEST = 0.05, 12.0


def quench(
    energy: EnergyFunction,
    crystals: Crystals,
    found: Evaluation,
    settings: AnnealSettings,
    *,
    progress: Callable[[int], None] | None = None,
    done: int = 0,
) -> tuple[Crystals, Evaluation, list[Floats]]:
    """Descend by the method of Barzilai and Borwein until converged.

    In the scaled coordinates X of :func:`ase_continuousp.sampling.moves.scaled_gradients`, with
    gradient Γ, X ← X − α Γ and α = |ΔX|²/(ΔX · ΔΓ) of the step before
    (doi:10.1093/imanum/8.1.141), within bounds. Converged crystals wait.

    Parameters
    ----------
    energy : EnergyFunction
    crystals : Crystals
    found : Evaluation
        Of these crystals.
    settings : AnnealSettings
        ``quench_steps``, ``quench_step``, ``largest`` and ``tolerance``.
    progress : callable, optional
        Called with the number of steps done, after each.
    done : int
        Steps done before.

    Returns
    -------
    Crystals, their Evaluation, and the energy per atom after each step
    """
    first = settings.quench_step
    alpha = np.full(crystals.n_crystals, first)
    index = crystals.crystal_index
    g, strain_g = scaled_gradients(crystals, found, settings.strain_scale)
    trace = []
    for i in range(settings.quench_steps):
        open_ = ~is_converged(crystals, found, settings)
        if not open_.any():
            break
        drift = np.where(open_, alpha, 0.0)
        moved, moves, strains = displaced(
            crystals, -drift[index, None] * g, -drift[:, None, None] * strain_g, settings
        )
        evaluated = energy(moved)
        usable = evaluated.is_finite
        crystals = moved.where(usable, crystals)
        found = evaluated.where(usable, found, index)
        before = g, strain_g
        g, strain_g = scaled_gradients(crystals, found, settings.strain_scale)
        squares = _product(crystals, moves, moves, strains, strains)
        bends = _product(crystals, moves, g - before[0], strains, strain_g - before[1])
        # Across a hill the formula would turn uphill: go on with longer steps instead.
        uphill = bends <= 1e-12 * squares
        fitted = squares / np.where(uphill, 1.0, bends)
        alpha = np.where(uphill, 2.0 * alpha, fitted)
        alpha = np.clip(np.where(usable, alpha, 0.3 * first), _SHORTEST * first, _LONGEST * first)
        trace.append(found.energy / crystals.counts)
        if progress is not None:
            progress(done + i + 1)
    return crystals, found, trace


def _product(crystals: Crystals, x: Floats, y: Floats, e: Floats, f: Floats) -> Floats:
    """Return Σ x·y + N e·f of each crystal."""
    atoms = np.add.reduceat(np.einsum("ax,ax->a", x, y), crystals.offsets[:-1])
    cells = np.einsum("bxy,bxy->b", e, f)
    total: Floats = atoms + crystals.counts * cells
    return total
