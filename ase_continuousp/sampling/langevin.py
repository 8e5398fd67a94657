"""The Metropolis-adjusted Langevin step, for a whole batch of crystals at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling.coordinates import Coordinates
from ase_continuousp.sampling.displacement import Displacement, Floats
from ase_continuousp.sampling.state import SamplerState


@dataclass(frozen=True)
class StepRecord:
    """What happened in one step.

    Parameters
    ----------
    acceptance : (n_crystals,) array
        Probability with which the proposal was accepted.
    is_accepted : (n_crystals,) array of bool
    is_finite : (n_crystals,) array of bool
        Whether energy, forces and stress of the proposal were numbers.
    """

    acceptance: Floats
    is_accepted: NDArray[np.bool_]
    is_finite: NDArray[np.bool_]


def propose(
    crystals: Crystals,
    slope: Displacement,
    noise: Displacement,
    temperature: ArrayLike,
    step_size: ArrayLike,
) -> Displacement:
    """Return the Langevin displacement y = −(η/T) ∂E/∂y + √(2η) ξ.

    Parameters
    ----------
    crystals : Crystals
    slope, noise : Displacement
        ∂E/∂y and ξ.
    temperature : float or (n_crystals,) array
        T, in the unit of the energy.
    step_size : float or (n_crystals,) array
        η [Å²].
    """
    eta = np.asarray(step_size, dtype=np.float64)
    drift = slope.scaled(-eta / np.asarray(temperature, dtype=np.float64), crystals)
    return drift.plus(noise.scaled(np.sqrt(2.0 * eta), crystals))


def log_proposal(
    crystals: Crystals,
    displacement: Displacement,
    slope: Displacement,
    temperature: ArrayLike,
    step_size: ArrayLike,
) -> Floats:
    """Return log q(y|x) = −|y + (η/T) ∂E/∂y|² / (4η), up to a constant, for each crystal.

    The drift has the sign of the proposal: the official code of the paper has it reversed.
    """
    eta = np.asarray(step_size, dtype=np.float64)
    drift = slope.scaled(eta / np.asarray(temperature, dtype=np.float64), crystals)
    return -displacement.plus(drift).squared_norm(crystals) / (4.0 * eta)


def step(
    state: SamplerState,
    energy: EnergyFunction,
    coordinates: Coordinates,
    *,
    temperature: ArrayLike,
    step_size: ArrayLike,
    volume_bounds: tuple[float, float] | None = None,
    active: NDArray[np.bool_] | None = None,
    describe: Callable[[Crystals], Crystals] | None = None,
) -> tuple[SamplerState, StepRecord]:
    """Return the state after one Metropolis-adjusted Langevin step of every crystal.

    Eq. of Roberts and Tweedie, Bernoulli 2 (1996) 341, doi:10.2307/3318418, as used in
    arXiv 2502.02026::

        y = −(η/T) ∇E(x) + √(2η) ξ,    x′ = x ⊕ y
        a = min(1, exp(−(E(x′) − E(x))/T) q(−y|x′) / q(y|x))
        log q(y|x) = −|y + (η/T) ∇E(x)|² / (4η)

    What ⊕ and ∇ are, and with respect to which measure exp(−E/T) is the stationary density, is
    the choice of `coordinates`. The flow exp(−E(x)/T) q(y|x) a(x → x′) is symmetric under
    exchange of x and x′ to rounding.

    =====  =====================================  ==================
    x      crystals                               ``state.crystals``
    E, ∇E  energy and its slope                   ``energy``, ``coordinates.slope``
    T      temperature, unit of the energy        ``temperature``
    η      step size [Å²]                         ``step_size``
    ξ      standard normal noise                  ``coordinates.noise``
    ⊕      displacement                           ``coordinates.move``
    =====  =====================================  ==================

    Parameters
    ----------
    state : SamplerState
    energy : EnergyFunction
    coordinates : Coordinates
    temperature : float or (n_crystals,) array
    step_size : float or (n_crystals,) array
        Multiplied with ``state.scale``.
    volume_bounds : (float, float), optional
        Smallest and largest volume per atom [Å³]. Proposals beyond are refused without being
        evaluated: a hard wall, which is part of the stationary density.
    active : (n_crystals,) array of bool, optional
        Crystals that move; the others stay as they are, whatever the random stream brings them.
    describe : callable, optional
        Another description of the same crystals (a Niggli reduction), applied to every proposal.

    Returns
    -------
    SamplerState
    StepRecord

    Notes
    -----
    One energy evaluation per step. A proposal whose energy or slope is not finite is refused.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.energy_function import Evaluation
    >>> from ase_continuousp.sampling.coordinates import PositionCoordinates
    >>> def well(c):
    ...     energies = 0.5 * np.sum(c.positions**2, axis=1)
    ...     total = np.add.reduceat(energies, c.offsets[:-1])
    ...     return Evaluation(total, energies, -c.positions, np.zeros((c.n_crystals, 3, 3)))
    >>> crystals = Crystals.single(np.ones((1, 3)), np.eye(3), [1])
    >>> state = SamplerState.start(crystals, well, np.random.default_rng(0))
    >>> for _ in range(3):
    ...     state, record = step(
    ...         state, well, PositionCoordinates(), temperature=1.0, step_size=1e-4
    ...     )
    >>> state.step, bool(record.acceptance[0] > 0.99)
    (3, True)
    """
    eta = np.asarray(step_size, dtype=np.float64) * state.scale
    rng = state.generator()
    here = state.crystals
    slope = coordinates.slope(here, state.evaluation)
    forward = propose(here, slope, coordinates.noise(here, rng), temperature, eta)
    threshold = np.log(rng.random(here.n_crystals))

    moved = coordinates.move(here, forward)
    inside = _is_inside(moved, volume_bounds)
    if active is not None:
        inside = inside & active
    moved = moved.where(inside, here)
    backward = forward.negative()
    if describe is not None:
        described = describe(moved)
        backward = coordinates.redescribe(backward, moved, described)
        moved = described
    evaluation = energy(moved)
    new_slope = coordinates.slope(moved, evaluation)

    with np.errstate(invalid="ignore", over="ignore"):
        log_ratio = (
            -(evaluation.energy - state.evaluation.energy) / np.asarray(temperature)
            + log_proposal(moved, backward, new_slope, temperature, eta)
            - log_proposal(here, forward, slope, temperature, eta)
        )
    is_finite = np.isfinite(evaluation.energy) & np.isfinite(new_slope.squared_norm(moved))
    log_ratio = np.where(inside & is_finite & ~np.isnan(log_ratio), log_ratio, -np.inf)
    is_accepted = threshold < log_ratio
    state = replace(state, random=rng.bit_generator.state).where(is_accepted, moved, evaluation)
    return state, StepRecord(np.exp(np.minimum(log_ratio, 0.0)), is_accepted, is_finite)


def _is_inside(crystals: Crystals, bounds: tuple[float, float] | None) -> NDArray[np.bool_]:
    """Return which crystals are finite and have a volume per atom within the bounds."""
    finite = np.isfinite(crystals.positions).all(axis=1)
    inside = np.logical_and.reduceat(finite, crystals.offsets[:-1])
    if bounds is None:
        return inside
    per_atom = crystals.volumes / crystals.counts
    # A comparison with NaN is false: a cell that is not a number is outside.
    return inside & (per_atom >= bounds[0]) & (per_atom <= bounds[1])
