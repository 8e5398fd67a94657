"""What an annealed run will do, and the one step that single runs and batches share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling import langevin
from ase_continuousp.sampling.coordinates import Coordinates
from ase_continuousp.sampling.schedule import Geometric, progress
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.warmup import WarmUp


@dataclass(frozen=True)
class AnnealPlan:
    """Schedules and limits of an annealed run.

    Parameters
    ----------
    n_steps : int
    temperature, step_size : Geometric
    warm_up : WarmUp or None
        None takes the step sizes as scheduled.
    volume_per_atom : (float, float)
        Bounds [Å³] beyond which a run is stopped.

    Examples
    --------
    >>> plan = AnnealPlan(3, Geometric(1.0, 0.01), Geometric(0.1, 0.1), None, (1.0, 1000.0))
    >>> [round(plan.temperature_at(step), 6) for step in range(3)]
    [1.0, 0.1, 0.01]
    """

    n_steps: int
    temperature: Geometric
    step_size: Geometric
    warm_up: WarmUp | None
    volume_per_atom: tuple[float, float]

    def temperature_at(self, step: int) -> float:
        """Return the temperature of the step of this index."""
        return self.temperature(progress(step, self.n_steps))

    def step_size_at(self, step: int) -> float:
        """Return the largest step size of the step of this index."""
        return self.step_size(progress(step, self.n_steps))

    def begin(self, state: SamplerState, coordinates: Coordinates) -> SamplerState:
        """Return the state with step sizes by which no first step goes far.

        Parameters
        ----------
        state : SamplerState
            Before its first step.
        coordinates : Coordinates
        """
        if self.warm_up is None:
            return state
        slope = coordinates.slope(state.crystals, state.evaluation)
        first = state.crystals.offsets[:-1]
        steepest = np.maximum(
            np.maximum.reduceat(np.linalg.norm(slope.atoms, axis=1), first),
            np.linalg.norm(slope.cells, axis=2).max(axis=1),
        )
        scales = [
            self.warm_up.first_scale(
                float(one), temperature=self.temperature_at(0), step_size=self.step_size_at(0)
            )
            for one in steepest
        ]
        # A crystal without a finite slope is never moved: any step size will do for it.
        return replace(state, scale=np.nan_to_num(np.array(scales), nan=1.0))

    def advance(
        self,
        state: SamplerState,
        energy: EnergyFunction,
        coordinates: Coordinates,
        *,
        has_wall: bool = True,
        active: NDArray[np.bool_] | None = None,
        describe: Callable[[Crystals], Crystals] | None = None,
    ) -> tuple[SamplerState, langevin.StepRecord]:
        """Return the state after the next step of the schedule, warm-up included.

        Parameters
        ----------
        state : SamplerState
        energy : EnergyFunction
        coordinates : Coordinates
        has_wall : bool
            Whether proposals of cells far beyond the bounds are refused.
        active, describe
            As for `ase_continuousp.sampling.langevin.step`.
        """
        low, high = self.volume_per_atom
        new, record = langevin.step(
            state,
            energy,
            coordinates,
            temperature=self.temperature_at(state.step),
            step_size=self.step_size_at(state.step),
            # Well beyond the bounds that end a run, so that no energy sees a wild cell.
            volume_bounds=(0.5 * low, 2.0 * high) if has_wall else None,
            active=active,
            describe=describe,
        )
        if self.warm_up is not None:
            scale = self.warm_up.update(
                state.scale, record.acceptance, step=state.step, n_steps=self.n_steps
            )
            new = replace(new, scale=scale)
        return new, record
