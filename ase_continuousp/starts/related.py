"""Random starts that are annealed as a related composition.

Chains of one composition tend to end in the same few minima, also where the truth is another one:
the energy errs there, and does so every time. A relative, with one element replaced by a similar
one, errs elsewhere. What its chains find, with the right elements put back, is a further guess at
the structure of the composition, as a prototype is one from a known crystal.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.arguments import check_share
from ase_continuousp.starts import Start, StartCrystal
from ase_continuousp.starts.library import PrototypeLibrary, anonymized
from ase_continuousp.starts.substitution import Substitution, similar

Integers = NDArray[np.int64]


class WithRelated:
    """Starts of a source, a share of which are annealed as relatives of the composition.

    Of n starts the first n − ⌊share · n⌋ are of the composition itself. The others have one
    element replaced by another one meanwhile, each in its own way: those a → b first that cost
    least, x^α |u(a) − u(b)|² with x the share of the atoms that are a, α and u as learned for
    prototypes (:class:`~ase_continuousp.starts.substitution.Substitution`).

    Parameters
    ----------
    start : Start
        Makes the crystals.
    library : path or PrototypeLibrary
        Says which elements are similar.
    elements : collection of int
        Atomic numbers that the energy knows.
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
    >>> from ase_continuousp.starts.building import build_library
    >>> from ase_continuousp.starts.priors import Priors
    >>> from ase_continuousp.starts.random import RandomStart
    >>> cell = 2.8 * (np.ones((3, 3)) - np.eye(3))
    >>> salts = [Crystals.single([[0, 0, 0], [2.8] * 3], cell, z) for z in ([11, 17], [19, 35])]
    >>> salts = Crystals.concatenate(salts * 4)
    >>> library = build_library(salts, n_fit=0)
    >>> random = RandomStart(Priors.fit(salts, n_steps=50))
    >>> start = WithRelated(random, library, {11, 17, 19, 35}, 0.5)
    >>> made = start.generate([11, 17], 4, np.random.default_rng(0))
    >>> [None if one.instead is None else one.instead.tolist() for one in made]
    [None, None, [11, 35], [19, 17]]
    """

    def __init__(
        self,
        start: Start,
        library: str | os.PathLike[str] | PrototypeLibrary,
        elements: Collection[int],
        share: float,
    ) -> None:
        check_share("share of related starts", share)
        self.start = start
        self.elements = elements
        self.share = share
        self._library = library

    @cached_property
    def substitution(self) -> Substitution:
        """The rule that says which elements are similar; read when it is needed first."""
        library = self._library
        if not isinstance(library, PrototypeLibrary):
            library = PrototypeLibrary.load(library)
        return library.substitution

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return n crystals of these atoms, those that are annealed as they are first."""
        numbers = np.asarray(numbers, dtype=np.int64)
        relatives = self._relatives(numbers, int(self.share * n))
        made = self.start.generate(numbers, n - len(relatives), rng)
        for relative in relatives:
            for one in self.start.generate(relative, 1, rng):
                crystals = replace(one.crystals, numbers=numbers)
                made.append(replace(one, crystals=crystals, kind="related", instead=relative))
        return made

    def _relatives(self, numbers: Integers, n: int) -> list[Integers]:
        if n == 0:
            return []
        elements, _, labels = anonymized(numbers)
        rows = similar(elements, labels, self.substitution, self.elements, n)
        return [row[labels] for row in rows]
