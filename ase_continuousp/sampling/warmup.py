"""Step size adapted to a target acceptance, in the first part of each temperature level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_continuousp.sampling.displacement import Floats


@dataclass(frozen=True)
class WarmUp:
    """Divide an anneal into levels; adapt in the first part of each, freeze in the rest.

    In the warm-up part of a level, the factor s on the scheduled step size follows the
    Robbins-Monro rule log s ← log s + g (a − a*) / √(1 + j), with the acceptance probability a of
    the step and j the steps since the level began. Afterwards s stays, and the chain is an exact
    Metropolis chain. s never exceeds 1: the schedule is the largest step.

    Parameters
    ----------
    target : float
        a*; 0.574 is the best for Langevin steps in many dimensions (Roberts and Rosenthal,
        J. R. Stat. Soc. B 60 (1998) 255, doi:10.1111/1467-9868.00123).
    n_levels : int
        Levels of a run; fewer if they would have less than 20 steps.
    fraction : float
        Share of a level that is warm-up.
    gain : float
        g.
    first_length : float [Å]
        Largest noise and drift of the first step.

    Examples
    --------
    >>> import numpy as np
    >>> warm_up = WarmUp()
    >>> scale = warm_up.update(np.ones(1), np.zeros(1), step=0, n_steps=1000)
    >>> bool(scale[0] < 1.0), warm_up.is_frozen(step=49, n_steps=1000)
    (True, True)
    """

    target: float = 0.574
    n_levels: int = 20
    fraction: float = 0.5
    gain: float = 2.0
    first_length: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a target that no step size can reach."""
        if not 0.0 < self.target < 1.0:
            raise ValueError(f"target acceptance must lie between 0 and 1: {self.target}")

    def first_scale(self, slope: float, *, temperature: float, step_size: float) -> float:
        """Return the factor to begin with, so that neither noise nor drift goes far.

        A first step of the scheduled size would push atoms into each other, where an electronic
        structure code may give up; a step that is too short grows within a few steps.

        Parameters
        ----------
        slope : float
            Largest force on an atom or the cell.
        temperature, step_size : float
            T and η [Å²] of the first step.
        """
        by_noise = 0.5 * self.first_length**2
        by_drift = self.first_length * temperature / max(slope, 1e-300)
        return min(1.0, by_noise / step_size, by_drift / step_size)

    def is_frozen(self, *, step: int, n_steps: int) -> bool:
        """Return whether the step lies in the part of its level with a fixed step size."""
        since, length = self._position(step, n_steps)
        return since >= self.fraction * length

    def update(self, scale: Floats, acceptance: Floats, *, step: int, n_steps: int) -> Floats:
        """Return the factors after a step with this acceptance.

        Parameters
        ----------
        scale, acceptance : (n_crystals,) arrays
        step : int
            Index of the step that was done.
        n_steps : int
            Steps of the run.
        """
        since, length = self._position(step, n_steps)
        if since >= self.fraction * length:
            return scale
        change = self.gain * (acceptance - self.target) / np.sqrt(1.0 + since)
        shortened: Floats = np.minimum(1.0, scale * np.exp(change))
        return shortened

    def _position(self, step: int, n_steps: int) -> tuple[int, int]:
        levels = max(1, min(self.n_levels, n_steps // 20))
        length = -(-n_steps // levels)
        return step % length, length
