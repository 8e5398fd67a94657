"""Energy, acceptance and volume along a run, from a trajectory or from the states of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import iread

from ase_continuousp.crystals import Integers
from ase_continuousp.sampling.displacement import Floats
from ase_continuousp.sampling.state import SamplerState

# Where the frames of a trajectory keep what a run knows and Atoms have no place for.
INFO = "annealed_langevin"


@dataclass(frozen=True)
class RunHistory:
    """What happened along a run of one or more crystals; a row for each kept step.

    Parameters
    ----------
    step : (n_rows,) array of int
        Steps done.
    energy : (n_rows, n_crystals) array
        Per atom.
    accepted : (n_rows, n_crystals) array of int
        Steps accepted so far.
    volume : (n_rows, n_crystals) array [Å³]
        Per atom; NaN without a cell.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase.io import Trajectory
    >>> from ase_continuousp import AnnealedLangevin
    >>> atoms = bulk("Cu")
    >>> atoms.calc = EMT()
    >>> AnnealedLangevin(
    ...     atoms, n_steps=5, temperature=(0.1, 0.01), seed=0, logfile=None, trajectory="cu.traj"
    ... ).run()
    True
    >>> history = RunHistory.from_trajectory("cu.traj")
    >>> history.step.tolist(), history.volume.shape
    ([0, 1, 2, 3, 4, 5], (6, 1))
    """

    step: Integers
    energy: Floats
    accepted: Integers
    volume: Floats

    def acceptance(self, n_rows: int = 1) -> Floats:
        """Return the share of accepted steps over so many rows back, NaN in the first row.

        Parameters
        ----------
        n_rows : int
            Fewer where the run has just begun.
        """
        rows = np.arange(len(self.step))
        before = np.maximum(0, rows - max(1, n_rows))
        n_steps = (self.step - self.step[before])[:, None]
        n_accepted = self.accepted - self.accepted[before]
        share: Floats = np.where(n_steps > 0, n_accepted / np.maximum(1, n_steps), np.nan)
        return share

    @classmethod
    def from_trajectory(cls, frames: str | Path | Sequence[Atoms]) -> RunHistory:
        """Return the history of the run that wrote a trajectory.

        Parameters
        ----------
        frames : str, Path or sequence of Atoms
            A file, or its frames.

        Raises
        ------
        ValueError
            If there is no frame, or one that no annealed run has written.
        """
        images: list[Atoms] = (
            list(iread(frames)) if isinstance(frames, str | Path) else list(frames)
        )
        if not images:
            raise ValueError("frames must hold at least one: got none")
        known: list[dict[str, Any]] = [image.info.get(INFO, {}) for image in images]
        if not all(known):
            lost = [bool(one) for one in known].index(False)
            raise ValueError(
                f"frames must be written by AnnealedLangevin: frame {lost} has no info[{INFO!r}]"
            )
        volumes = [
            image.get_volume() / len(image) if image.cell.rank == 3 else np.nan for image in images
        ]
        return cls(
            np.array([one["step"] for one in known]),
            np.array([image.get_potential_energy() / len(image) for image in images])[:, None],
            np.array([one["accepted"] for one in known])[:, None],
            np.array(volumes)[:, None],
        )

    @classmethod
    def from_states(cls, states: Iterable[SamplerState]) -> RunHistory:
        """Return the history of the states of one batch, in order.

        Raises
        ------
        ValueError
            If there is none.
        """
        rows = [
            (
                state.step,
                state.evaluation.energy / state.crystals.counts,
                state.accepted,
                state.crystals.volumes / state.crystals.counts,
            )
            for state in states
        ]
        if not rows:
            raise ValueError("states must hold at least one: got none")
        step, energy, accepted, volume = (np.array(column) for column in zip(*rows, strict=True))
        return cls(step, energy, accepted, volume)
