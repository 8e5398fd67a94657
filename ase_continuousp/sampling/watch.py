"""Which chains go on, and the named reasons why the others ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Integers
from ase_continuousp.sampling.displacement import Floats

# Proposals in a row without a finite energy, force or stress after which a run is given up.
PATIENCE = 10


@dataclass(frozen=True)
class Watch:
    """Judge each chain of a batch after each step.

    Parameters
    ----------
    n_broken : (n_crystals,) array of int
        Last proposals in a row whose energy, forces or stress were not finite.
    reasons : tuple of str or None
        Why each chain ended; None for one that goes on.

    Examples
    --------
    >>> import numpy as np
    >>> watch = Watch.start(np.array([True, True]))
    >>> watch = watch.after(np.array([True, True]), np.array([0.5, 20.0]), (1.0, 1000.0))
    >>> watch.reasons
    ('collapse: volume per atom 0.5 Å³ is below 1.0', None)
    """

    n_broken: Integers
    reasons: tuple[str | None, ...]

    @classmethod
    def start(cls, is_finite: NDArray[np.bool_]) -> Watch:
        """Return the watch over chains whose starts have, or have not, finite energy and slope."""
        reason = "not finite: energy, forces or stress of the first structure"
        return cls(
            np.zeros(len(is_finite), dtype=np.int64),
            tuple(None if finite else reason for finite in is_finite),
        )

    @property
    def is_running(self) -> NDArray[np.bool_]:
        """Whether each chain goes on, (n_crystals,)."""
        return np.array([reason is None for reason in self.reasons])

    def after(
        self,
        is_finite: NDArray[np.bool_],
        volume_per_atom: Floats | None,
        bounds: tuple[float, float],
    ) -> Watch:
        """Return the watch after a step.

        Parameters
        ----------
        is_finite : (n_crystals,) array of bool
            Whether the proposals were numbers.
        volume_per_atom : (n_crystals,) array, optional
            Of the states [Å³]; None where the cell does not move.
        bounds : (float, float)
            Below the first a chain has collapsed, above the second exploded.
        """
        n_broken = np.where(is_finite, 0, self.n_broken + 1)
        reasons = list(self.reasons)
        ended = n_broken >= PATIENCE
        if volume_per_atom is not None:
            ended = ended | (volume_per_atom < bounds[0]) | (volume_per_atom > bounds[1])
        for b in np.flatnonzero(ended & self.is_running):
            volume = None if volume_per_atom is None else float(volume_per_atom[b])
            reasons[b] = _reason(int(n_broken[b]), volume, bounds)
        return Watch(n_broken, tuple(reasons))


def _reason(n_broken: int, volume: float | None, bounds: tuple[float, float]) -> str:
    if n_broken >= PATIENCE:
        return f"not finite: energy, forces or stress of {PATIENCE} proposals in a row"
    assert volume is not None
    if volume < bounds[0]:
        return f"collapse: volume per atom {volume:.4g} Å³ is below {bounds[0]}"
    return f"explosion: volume per atom {volume:.4g} Å³ is above {bounds[1]}"
