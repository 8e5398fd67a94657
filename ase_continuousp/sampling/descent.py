"""Noiseless descent in the coordinates of a sampler: the quench after an anneal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling.coordinates import Coordinates
from ase_continuousp.sampling.displacement import Displacement, Floats
from ase_continuousp.sampling.state import SamplerState

LONGEST_STEP = 0.2
# A step must gain this share of what its slope promises (Armijo), less what rounding of a sum
# of energies can hide near the minimum.
_SHARE = 1e-4
_ROUNDING = 1e-12


def descend(
    state: SamplerState, energy: EnergyFunction, coordinates: Coordinates, rate: Floats
) -> tuple[SamplerState, Floats, NDArray[np.bool_]]:
    """Return the state after one step downhill, the rate of the next and which steps were taken.

    y = −γ ∂E/∂y is taken if the energy falls enough. The rate γ is then the curvature estimate of
    Barzilai and Borwein (IMA J. Numer. Anal. 8 (1988) 141, doi:10.1093/imanum/8.1.141),
    y·y / y·Δ(∂E/∂y); after a refused step it is shortened.

    Parameters
    ----------
    state : SamplerState
    energy : EnergyFunction
    coordinates : Coordinates
    rate : (n_crystals,) array
        γ [Å² per energy unit].

    Returns
    -------
    SamplerState
    (n_crystals,) array
        γ of the next step.
    (n_crystals,) array of bool
        Whether the step was taken.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.energy_function import Evaluation
    >>> from ase_continuousp.sampling.coordinates import PositionCoordinates
    >>> def well(c):
    ...     energies = 2.0 * np.sum(c.positions**2, axis=1)
    ...     return Evaluation(energies, energies, -4.0 * c.positions, np.zeros((1, 3, 3)))
    >>> crystals = Crystals.single(0.1 * np.ones((1, 3)), np.eye(3), [1])
    >>> state = SamplerState.start(crystals, well, np.random.default_rng(0))
    >>> rate = np.array([0.1])
    >>> for _ in range(3):
    ...     state, rate, _ = descend(state, well, PositionCoordinates(), rate)
    >>> bool(state.evaluation.energy[0] < 1e-20)
    True
    """
    here = state.crystals
    slope = coordinates.slope(here, state.evaluation)
    step = slope.scaled(-rate, here)
    longest = np.maximum.reduceat(np.linalg.norm(step.atoms, axis=1), here.offsets[:-1])
    longest = np.maximum(longest, np.linalg.norm(step.cells, axis=2).max(axis=1))
    step = step.scaled(LONGEST_STEP / np.maximum(longest, LONGEST_STEP), here)

    moved = coordinates.move(here, step)
    evaluation = energy(moved)
    new_slope = coordinates.slope(moved, evaluation)
    before = state.evaluation.energy
    bound = before + _SHARE * step.dot(slope, here) + _ROUNDING * np.abs(before)
    is_finite = np.isfinite(new_slope.squared_norm(moved))
    is_lower = is_finite & (evaluation.energy <= bound)

    change = Displacement(new_slope.atoms - slope.atoms, new_slope.cells - slope.cells)
    curvature = step.dot(change, here)
    estimate = step.squared_norm(here) / np.where(curvature > 0.0, curvature, np.inf)
    estimate = np.where(curvature > 0.0, estimate, 2.0 * rate)
    following = np.clip(estimate, 0.1 * rate, 10.0 * rate)
    moved_state = state.where(is_lower, moved, evaluation)
    return (
        replace(moved_state, accepted=state.accepted),
        np.where(is_lower, following, 0.4 * rate),
        is_lower,
    )
