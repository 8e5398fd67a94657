"""The annealed run of a whole batch of crystals, by the same steps as that of one Atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling.coordinates import Coordinates, StrainCoordinates
from ase_continuousp.sampling.displacement import Floats
from ase_continuousp.sampling.following import end_of
from ase_continuousp.sampling.langevin import StepRecord
from ase_continuousp.sampling.plan import AnnealPlan
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.watch import Watch


@dataclass(frozen=True)
class BatchRun:
    """A batch in the middle of its anneal; everything that the rest of it depends on.

    Parameters
    ----------
    state : SamplerState
    watch : Watch
        Which crystals go on, and why the others ended.
    best_crystals : Crystals
        The lowest that each chain has seen.
    best_energy : (n_crystals,) array
    """

    state: SamplerState
    watch: Watch
    best_crystals: Crystals
    best_energy: Floats


@dataclass(frozen=True)
class BatchAnneal:
    """Anneal hundreds of crystals in one state, each accepted or refused by itself.

    The step, the schedule, the warm-up of the step size (a factor for each crystal) and the
    reasons to stop are those of `ase_continuousp.sampling.optimizer.AnnealedLangevin`: a batch of
    one gives the chain of the optimizer. A crystal that ended stays as it is while the others go
    on.

    Parameters
    ----------
    plan : AnnealPlan
    coordinates : Coordinates
        In which the crystals move.
    describe : callable, optional
        Another description of the same crystals, applied to every proposal, such as
        `ase_continuousp.niggli.reduce_crystals`.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.energy_function import Evaluation
    >>> from ase_continuousp.sampling.schedule import Geometric
    >>> def density(c):
    ...     log_ratio = np.log(c.counts / c.volumes / 0.05)
    ...     pressure = (-2.0 * log_ratio / c.volumes)[:, None, None] * np.eye(3)
    ...     return Evaluation(log_ratio**2, log_ratio**2, np.zeros((c.n_atoms, 3)), pressure)
    >>> plan = AnnealPlan(60, Geometric(0.1, 1e-4), Geometric(0.5, 5e-3), None, (1.0, 1000.0))
    >>> start = Crystals.single([[0.0, 0.0, 0.0]], 2.5 * np.eye(3), [84]).select([0, 0])
    >>> end = BatchAnneal(plan).run(density, start, np.random.default_rng(0))
    >>> bool((end.best_energy < 0.1).all()), end.watch.reasons
    (True, (None, None))
    """

    plan: AnnealPlan
    coordinates: Coordinates = field(default_factory=StrainCoordinates)
    describe: Callable[[Crystals], Crystals] | None = None

    def start(
        self, energy: EnergyFunction, crystals: Crystals, rng: np.random.Generator
    ) -> BatchRun:
        """Return the run before its first step.

        Raises
        ------
        ValueError
            If a crystal starts beyond the volume bounds of the plan.
        """
        low, high = self.plan.volume_per_atom
        volume = crystals.volumes / crystals.counts
        outside = ~((volume >= low) & (volume <= high))
        if outside.any():
            worst = int(np.argmax(outside))
            raise ValueError(
                f"volume_per_atom must hold the start: {volume[worst]:.4g} Å³ of crystal {worst} "
                f"is outside ({low}, {high})"
            )
        state = SamplerState.start(crystals, energy, rng)
        slope = self.coordinates.slope(state.crystals, state.evaluation)
        is_finite = np.isfinite(state.evaluation.energy) & np.isfinite(slope.squared_norm(crystals))
        state = self.plan.begin(state, self.coordinates)
        return BatchRun(state, Watch.start(is_finite), crystals, state.evaluation.energy)

    def steps(self, run: BatchRun, energy: EnergyFunction) -> Iterator[tuple[BatchRun, StepRecord]]:
        """Yield run and record of every step that is left: a kept run goes on."""
        while run.state.step < self.plan.n_steps and run.watch.is_running.any():
            state, record = self.plan.advance(
                run.state,
                energy,
                self.coordinates,
                active=run.watch.is_running,
                describe=self.describe,
            )
            volume = state.crystals.volumes / state.crystals.counts
            watch = run.watch.after(record.is_finite, volume, self.plan.volume_per_atom)
            # Written so that a first energy that is not a number counts as higher.
            is_lower = record.is_accepted & ~(state.evaluation.energy >= run.best_energy)
            run = BatchRun(
                state,
                watch,
                _best(run, state, is_lower),
                np.where(is_lower, state.evaluation.energy, run.best_energy),
            )
            yield run, record

    def run(
        self,
        energy: EnergyFunction,
        crystals: Crystals,
        rng: np.random.Generator,
        *,
        progress: bool = False,
    ) -> BatchRun:
        """Return the run after all steps.

        Parameters
        ----------
        energy : EnergyFunction
        crystals : Crystals
            Where the chains start.
        rng : numpy.random.Generator
        progress : bool
            Show a progress bar.
        """
        run = self.start(energy, crystals, rng)
        return end_of(self.steps(run, energy), run, self.plan.n_steps, progress=progress)


def _best(run: BatchRun, state: SamplerState, is_lower: NDArray[np.bool_]) -> Crystals:
    """Return the lowest crystals seen; both batches hold the same atoms."""
    if not is_lower.any():
        return run.best_crystals
    return state.crystals.where(is_lower, run.best_crystals)
