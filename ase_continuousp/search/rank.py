"""In what order candidates are proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


# Chance that the lowest of the generated crystals is right where no prototype is, and the energy
# per atom over which its lead over the others counts.
_GENERATED = 0.2
_SCALE = 0.03


class EvidenceRanking:
    """Prototype probabilities first, the energy for what prototypes leave open.

    A class of equal crystals scores::

        Σ_p w_p exp(−d_p) + 0.2 (1 − Σ_all w_p exp(−d_p)) softmax(−E/0.03)

    over its members p from prototypes, with the probability exp(−d) that their library gives
    them and the weight w of their cell size, and with the lowest energy per atom E of its
    generated (random or symmetric) members. A crystal found both ways gains from both. Learned
    energies alone order prototypes worse than the chemical distance does.

    Parameters
    ----------
    weights : mapping from number of atoms to float, optional
        How likely each cell size is; equal if not given.

    Examples
    --------
    >>> EvidenceRanking()([])
    []
    """

    def __init__(self, weights: Mapping[int, float] | None = None) -> None:
        self.weights = weights

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes, highest score first; prototypes represent their class."""
        sizes = {one.crystals.n_atoms for members in classes for one in members}
        weights = self.weights or dict.fromkeys(sizes, 1.0 / max(1, len(sizes)))
        known = np.zeros(len(classes))
        lowest = np.full(len(classes), np.inf)
        for c, members in enumerate(classes):
            for one in members:
                if one.start.distance is None:
                    lowest[c] = min(lowest[c], one.energy_per_atom)
                else:
                    weight = weights.get(one.crystals.n_atoms, 0.0)
                    known[c] += weight * np.exp(-one.start.distance)
        scores = known.copy()
        if np.isfinite(lowest).any():
            shares = np.exp(-(lowest - lowest.min()) / _SCALE)
            scores += _GENERATED * max(0.0, 1.0 - known.sum()) * shares / shares.sum()
        ranked = [
            Ranked(tuple(_prototypes_first(members)), float(score), float(min(score, 1.0)))
            for members, score in zip(classes, scores, strict=True)
        ]
        order = np.argsort(-scores, kind="stable")
        return [ranked[i] for i in order]


def _prototypes_first(members: Sequence[Refined]) -> list[Refined]:
    # As built they are closer to the truth than after a quench; the likeliest represents.
    far = float("inf")
    return sorted(
        members, key=lambda one: far if one.start.distance is None else one.start.distance
    )
