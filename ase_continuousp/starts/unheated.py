"""Random starts, some of which are annealed once and not heated again.

Heating chains again and keeping the lowest minimum brings them together: each is better, and there
are fewer different ones. Of many chains a share that ends where its first quench does keeps the
variety, in a fraction of the time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ase_continuousp.arguments import check_share
from ase_continuousp.starts import Start, StartCrystal


class WithUnheated:
    """Starts of a source, a share of which are not heated again after their quench.

    Of n starts the first n − ⌊share · n⌋ are heated as often as the settings of the anneal say,
    the others never.

    Parameters
    ----------
    start : Start
        Makes the crystals.
    share : float
        In [0, 1).

    Raises
    ------
    ValueError
        If the share is out of bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.starts.priors import Priors
    >>> from ase_continuousp.starts.random import RandomStart
    >>> cube = Crystals.single([[0, 0, 0]], 3.35 * np.eye(3), [84])
    >>> random = RandomStart(Priors.fit(Crystals.concatenate([cube] * 8), n_steps=50))
    >>> made = WithUnheated(random, 0.5).generate([84], 4, np.random.default_rng(0))
    >>> [one.is_reheated for one in made]
    [True, True, False, False]
    """

    def __init__(self, start: Start, share: float) -> None:
        check_share("share of unheated starts", share)
        self.start = start
        self.share = share

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return n crystals of these atoms, those that are heated again first."""
        made = self.start.generate(numbers, n, rng)
        first = len(made) - int(self.share * len(made))
        return made[:first] + [replace(one, is_reheated=False) for one in made[first:]]
