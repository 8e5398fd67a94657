"""In what order candidates are proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ase_continuousp.search.refine import Refined


@dataclass(frozen=True)
class Ranked:
    """A class of equal crystals, with what the ranking says of it.

    Parameters
    ----------
    members : tuple of Refined
        The representative first.
    score : float
        The higher, the better.
    probability : float or None
        Of being the true crystal, if the ranking is calibrated.
    """

    members: tuple[Refined, ...]
    score: float
    probability: float | None = None

    @property
    def head(self) -> Refined:
        """The representative."""
        return self.members[0]


class Ranking(Protocol):
    """A way to order classes of equal crystals, best first."""

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes, best first."""
        ...


class EnergyRanking:
    """Lowest energy per atom first.

    Examples
    --------
    >>> EnergyRanking()([])
    []
    """

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes in the order of the energy of their representatives."""
        ranked = [Ranked(tuple(members), -members[0].energy_per_atom) for members in classes]
        order = np.argsort([-one.score for one in ranked], kind="stable")
        return [ranked[i] for i in order]
