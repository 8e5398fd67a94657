"""Random starts: the purely generative mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors


@dataclass(frozen=True)
class RandomStart:
    """Atoms anywhere in a cell of likely volume and shape.

    Parameters
    ----------
    priors : Priors
        Volume and cell shape by composition.
    volume_noise : float
        Scales the random part of the volume.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.starts.priors import Priors
    >>> cube = Crystals.single([[0, 0, 0]], 3.35 * np.eye(3), [84])
    >>> priors = Priors.fit(Crystals.concatenate([cube] * 8), n_steps=100)
    >>> starts = RandomStart(priors).generate([84, 84], 3, np.random.default_rng(0))
    >>> [s.crystals.n_atoms for s in starts]
    [2, 2, 2]
    """

    priors: Priors
    volume_noise: float = 1.0

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return n random crystals of atoms with these numbers."""
        numbers = np.asarray(numbers, dtype=np.int64)
        cells = self.priors.sample_cells(numbers, n, rng, volume_noise=self.volume_noise)
        fractional = rng.uniform(size=(n, len(numbers), 3))
        return [
            StartCrystal(Crystals.single(f @ cell, cell, numbers), kind="random")
            for f, cell in zip(fractional, cells, strict=True)
        ]
