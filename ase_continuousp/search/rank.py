"""In what order candidates are proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.search.refine import Refined

Floats = NDArray[np.float64]


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


# Basins this far above the lowest tell no more by being higher still.
_HIGHEST = 0.3


@dataclass(frozen=True)
class Evidence:
    """What speaks for a class of equal crystals.

    Parameters
    ----------
    known : float
        Probability that the prototype library gives its members from prototypes; 0 without any.
    lead : float
        Energy of its basin per atom above the lowest of all classes.
    strain : float
        Root mean square gradient ℓ |∂U/∂r| of its prototype as it was built; 0 without any.
    n_generated : int
        Members that random or symmetric starts led to.
    """

    known: float
    lead: float
    strain: float
    n_generated: int

    def as_array(self) -> Floats:
        """Return what the score is linear in, (6,)."""
        is_known = float(self.known > 0)
        lead = min(self.lead, _HIGHEST)
        return np.array(
            [
                np.log(self.known) if is_known else 0.0,
                1.0 - is_known,
                lead * is_known,
                lead * (1.0 - is_known),
                np.log(self.strain + 0.02) * is_known,
                np.log1p(self.n_generated),
            ]
        )


def evidence(
    classes: Sequence[Sequence[Refined]], weights: Mapping[int, float] | None = None
) -> list[Evidence]:
    """Return what speaks for each class.

    Parameters
    ----------
    classes : sequence of sequence of Refined
    weights : mapping from number of atoms to float, optional
        How likely each cell size is, if prototypes were asked for one by one; 1 if not given.
    """
    lowest = [min(one.basin_energy_per_atom for one in members) for members in classes]
    floor = min(lowest, default=0.0)
    made = []
    for members, energy in zip(classes, lowest, strict=True):
        known, strain, generated = 0.0, 0.0, 0
        likeliest = float("inf")
        for one in members:
            if one.start.distance is None:
                generated += 1
                continue
            weight = 1.0 if weights is None else weights.get(one.crystals.n_atoms, 0.0)
            known += weight * float(np.exp(-one.start.distance))
            if one.start.distance < likeliest:
                likeliest, strain = one.start.distance, _gradient(one)
        made.append(Evidence(min(known, 1.0), energy - floor, strain, generated))
    return made


def _gradient(refined: Refined) -> float:
    length = float(refined.crystals.lengths[0])
    return length * float(np.sqrt(np.mean(np.sum(refined.forces**2, axis=1))))


class CalibratedRanking:
    """Prototype probabilities, energies and how often a basin was found, in one fitted score.

    Each class c of equal crystals has a score z_c = w · x_c, linear in its evidence
    (:class:`Evidence`), and "none of them" has the score w₀. The probability that c is the true
    crystal is exp(z_c) / (exp(w₀) + Σ exp(z)). The weights are fitted to validation crystals by
    :func:`ase_continuousp.search.calibration.fit_ranking` and lie in the card of a model. Where
    no class has a prototype the lowest energy is first, without a probability.

    Parameters
    ----------
    constants : sequence of 7 floats
        w₀ and w.
    weights : mapping from number of atoms to float, optional
        How likely each cell size is; all are 1 if not given.

    Raises
    ------
    ValueError
        If there are not seven constants.

    Examples
    --------
    >>> CalibratedRanking(DEFAULT)([])
    []
    """

    def __init__(
        self, constants: Sequence[float], weights: Mapping[int, float] | None = None
    ) -> None:
        self.constants = np.asarray(constants, dtype=np.float64)
        if self.constants.shape != (7,):
            raise ValueError(f"constants must be 7 numbers: {len(self.constants)}")
        self.weights = weights

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes, likeliest first; prototypes represent their class."""
        found = evidence(classes, self.weights)
        if not any(one.known > 0 for one in found):
            return EnergyRanking()(classes)  # the constants weigh prototypes against the rest
        scores = np.array([one.as_array() for one in found]) @ self.constants[1:]
        largest = max(float(scores.max()), float(self.constants[0]))
        shares = np.exp(scores - largest)
        probabilities = shares / (shares.sum() + np.exp(self.constants[0] - largest))
        ranked = [
            Ranked(tuple(_prototypes_first(members)), float(score), float(probability))
            for members, score, probability in zip(classes, scores, probabilities, strict=True)
        ]
        return [ranked[i] for i in np.argsort(-scores, kind="stable")]


def _prototypes_first(members: Sequence[Refined]) -> list[Refined]:
    # As built they are closer to the truth than after a quench; the likeliest represents.
    far = float("inf")
    return sorted(
        members, key=lambda one: far if one.start.distance is None else one.start.distance
    )


#: For models without constants of their own.
DEFAULT = (-2.0, 0.6, -3.0, -3.0, -3.0, 0.0, 0.3)


def ranking_of_model(
    card: Mapping[str, Any], weights: Mapping[int, float] | None = None
) -> CalibratedRanking:
    """Return the ranking whose constants a model's card holds, the default ones if it has none."""
    return CalibratedRanking(card.get("ranking", {}).get("constants", DEFAULT), weights)
