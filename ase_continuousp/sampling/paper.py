"""The sampler of the paper: annealed MALA in cell entries and positions, reduced every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling.coordinates import FlatCoordinates
from ase_continuousp.sampling.following import end_of
from ase_continuousp.sampling.langevin import StepRecord, step
from ase_continuousp.sampling.schedule import Geometric, progress
from ase_continuousp.sampling.state import SamplerState

PRESETS = ("paper",)


def check_preset(preset: str | None) -> None:
    """Raise unless a preset is known; none is fine.

    Examples
    --------
    >>> check_preset("paper")
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset must be {' or '.join(map(repr, PRESETS))} or None: {preset!r}")


def check_free(atoms: Any, *, move_cell: bool) -> None:
    """Raise unless all entries of the cell and all positions can move, as the paper's do.

    Parameters
    ----------
    atoms : ase.Atoms or ase.filters.Filter
    move_cell : bool

    Examples
    --------
    >>> from ase.build import bulk
    >>> check_free(bulk("Cu"), move_cell=True)
    """
    if not isinstance(atoms, Atoms):
        raise ValueError(f"preset='paper' takes Atoms, not a filter: {type(atoms).__name__}")
    if atoms.constraints:
        kinds = ", ".join(type(constraint).__name__ for constraint in atoms.constraints)
        raise ValueError(f"preset='paper' keeps no constraint: {kinds}")
    if not move_cell:
        raise ValueError("preset='paper' moves the cell: move_cell=False")


@dataclass(frozen=True)
class PaperSampler:
    """Anneal whole batches as arXiv 2502.02026 does, with the right acceptance ratio.

    Metropolis-adjusted Langevin steps in x = (L, r) (`FlatCoordinates`), temperature and step
    size geometric, every proposal Niggli-reduced and its atoms wrapped. At a fixed temperature
    the stationary density is exp(−E/T) with respect to dL dr. Two things differ from the official
    code: the drift in the proposal density has the sign of the proposal, and the way back of a
    reduced proposal is measured in the reduced description.

    For one Atoms and any calculator it is ``AnnealedLangevin(atoms, preset="paper")``, the same
    chain; from formulas ``sample(formulas, preset="paper")``.

    Parameters
    ----------
    n_steps : int
    temperature, step_size : Geometric
        Dimensionless, and η [Å²].
    volume_per_atom : (float, float)
        A hard wall [Å³], since an energy may be anything in a cell without volume.

    Examples
    --------
    >>> from ase_continuousp.energy_function import Evaluation
    >>> def density(c):
    ...     log_ratio = np.log(c.counts / c.volumes / 0.05)
    ...     pressure = (-2.0 * log_ratio / c.volumes)[:, None, None] * np.eye(3)
    ...     return Evaluation(log_ratio**2, np.zeros(1), np.zeros((1, 3)), pressure)
    >>> start = Crystals.single([[0.0, 0.0, 0.0]], np.diag([2.0, 3.0, 5.0]), [84])
    >>> end = PaperSampler(n_steps=200).run(density, start, np.random.default_rng(0))
    >>> bool(end.evaluation.energy[0] < 0.1)
    True
    """

    n_steps: int = 1000
    temperature: Geometric = field(default_factory=lambda: Geometric(1.0, 1e-3))
    step_size: Geometric = field(default_factory=lambda: Geometric(0.5, 5e-4))
    volume_per_atom: tuple[float, float] = (1.0, 1000.0)

    def start(
        self, energy: EnergyFunction, crystals: Crystals, rng: np.random.Generator
    ) -> SamplerState:
        """Return the state before the first step, reduced and evaluated."""
        return SamplerState.start(reduce_crystals(crystals), energy, rng)

    def steps(
        self, state: SamplerState, energy: EnergyFunction
    ) -> Iterator[tuple[SamplerState, StepRecord]]:
        """Yield state and record of every step that is left: a kept state goes on."""
        while state.step < self.n_steps:
            done = progress(state.step, self.n_steps)
            state, record = step(
                state,
                energy,
                FlatCoordinates(),
                temperature=self.temperature(done),
                step_size=self.step_size(done),
                volume_bounds=self.volume_per_atom,
                describe=reduce_crystals,
            )
            yield state, record

    def run(
        self,
        energy: EnergyFunction,
        crystals: Crystals,
        rng: np.random.Generator,
        *,
        progress: bool = False,
    ) -> SamplerState:
        """Return the state after all steps.

        Parameters
        ----------
        energy : EnergyFunction
        crystals : Crystals
            Where the chains start.
        rng : numpy.random.Generator
        progress : bool
            Show a progress bar.
        """
        state = self.start(energy, crystals, rng)
        return end_of(self.steps(state, energy), state, self.n_steps, progress=progress)
