"""In what order candidates are proposed."""

from __future__ import annotations

import math
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


_LEADS = ("lead of prototype", "lead of generated")

# Basins this far above the lowest tell no more by being higher still, nor do crystals by being
# farther from all that is known.
_HIGHEST = 0.3
_FARTHEST = -30.0
_SAME = -1e-6  # nearness of the same elements on the same sites


#: What :meth:`Evidence.as_array` holds, by name.
EVIDENCE = (
    "prototype",
    "generated",
    "lead of prototype",
    "lead of generated",
    "found",
    "nearness",
    "odds of prototype",
    "odds of generated",
)


@dataclass(frozen=True)
class Evidence:
    """What speaks for a class of equal crystals.

    Parameters
    ----------
    known : float
        Probability that the prototype library gives its members from prototypes; 0 without any.
    nearness : float
        Chemical log weight of the known crystal that is nearest to any prototype of the search.
    lead : float
        Energy of its basin per atom above the lowest of all classes.
    n_generated : int
        Members that random or symmetric starts led to.
    log_odds : float
        What the judge of the model says of its likeliest prototype, or of its lowest member if
        there is none; 0 without a judge.
    """

    known: float
    nearness: float
    lead: float
    n_generated: int
    log_odds: float = 0.0

    def as_array(self) -> Floats:
        """Return what the score is linear in, in the order of `EVIDENCE`."""
        is_known = float(self.known > 0)
        lead = min(self.lead, _HIGHEST)
        return np.array(
            [
                np.log(self.known) if is_known else 0.0,
                1.0 - is_known,
                lead * is_known,
                lead * (1.0 - is_known),
                np.log1p(self.n_generated),
                max(self.nearness, _FARTHEST) * is_known,
                self.log_odds * is_known,
                self.log_odds * (1.0 - is_known),
            ]
        )


def evidence(classes: Sequence[Sequence[Refined]]) -> list[Evidence]:
    """Return what speaks for each class."""
    lowest = [min(one.basin_energy_per_atom for one in members) for members in classes]
    floor = min(lowest, default=0.0)
    starts = [one.start for members in classes for one in members]
    nearest = max((s.nearness for s in starts if s.nearness is not None), default=_FARTHEST)
    made = []
    for members, energy in zip(classes, lowest, strict=True):
        distances = [one.start.distance for one in members if one.start.distance is not None]
        known = min(sum(math.exp(-distance) for distance in distances), 1.0)
        generated = len(members) - len(distances)
        odds = _prototypes_first(members)[0].log_odds or 0.0
        made.append(Evidence(known, nearest, energy - floor, generated, odds))
    return made


class CalibratedRanking:
    """Prototype probabilities, energies and how often a basin was found, in one fitted score.

    Each class c of equal crystals has a score z_c = w · x_c, linear in its evidence
    (:class:`Evidence`), and "none of them" has the score w₀. The probability that c is the true
    crystal is exp(z_c) / (exp(w₀) + Σ exp(z)). The weights are fitted to validation crystals by
    :func:`ase_continuousp.search.calibration.fit_ranking` and lie in the card of a model; the
    probabilities hold for searches like those that they were fitted to. Where no class has a
    prototype other constants count, or else the lowest energy is first, without a probability.

    Parameters
    ----------
    constants : sequence of 9 floats
        w₀ and w, in the order of `EVIDENCE`.
    generated : sequence of 9 floats, optional
        Those for searches without prototypes.
    familiar : sequence of 9 floats, optional
        Those for searches whose library holds a crystal of the very composition.
    is_fitted : bool
        Whether they were fitted. If not, there are no probabilities.

    Raises
    ------
    ValueError
        If there are not nine of any of them.

    Examples
    --------
    >>> CalibratedRanking(DEFAULT, is_fitted=False)([])
    []
    """

    def __init__(
        self,
        constants: Sequence[float],
        *,
        generated: Sequence[float] | None = None,
        familiar: Sequence[float] | None = None,
        is_fitted: bool = True,
    ) -> None:
        self.constants = _checked("constants", constants)
        self.generated = None if generated is None else _checked("generated", generated)
        self.familiar = None if familiar is None else _checked("familiar", familiar)
        self.is_fitted = is_fitted

    @property
    def needs_basins(self) -> bool:
        """Whether it matters where a quench would lead prototypes."""
        used = [w for w in (self.constants, self.familiar) if w is not None]
        return any(w[1 + EVIDENCE.index(name)] != 0.0 for w in used for name in _LEADS)

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes, likeliest first; prototypes represent their class."""
        found = evidence(classes)
        constants = self.constants
        if not any(one.known > 0 for one in found):
            if self.generated is None:
                return EnergyRanking()(classes)  # the others weigh prototypes against the rest
            constants = self.generated
        elif self.familiar is not None and found[0].nearness > _SAME:
            constants = self.familiar
        if not found:
            return []
        scores = np.array([one.as_array() for one in found]) @ constants[1:]
        largest = max(float(scores.max()), float(constants[0]))
        shares = np.exp(scores - largest)
        probabilities = shares / (shares.sum() + np.exp(constants[0] - largest))
        ranked = [
            Ranked(
                tuple(_prototypes_first(members)),
                float(score),
                float(probability) if self.is_fitted else None,
            )
            for members, score, probability in zip(classes, scores, probabilities, strict=True)
        ]
        return [ranked[i] for i in np.argsort(-scores, kind="stable")]


def _prototypes_first(members: Sequence[Refined]) -> list[Refined]:
    # As built they are closer to the truth than after a quench; the likeliest represents.
    far = float("inf")
    return sorted(
        members, key=lambda one: far if one.start.distance is None else one.start.distance
    )


def _checked(name: str, constants: Sequence[float]) -> Floats:
    made = np.asarray(constants, dtype=np.float64)
    if made.shape != (9,):
        raise ValueError(f"{name} must be 9 numbers: {len(made)}")
    return made


#: For models without constants of their own: guesses, so that there are no probabilities.
DEFAULT = (-2.0, 0.6, -3.0, -3.0, -3.0, 0.5, 0.0, 1.0, 1.0)


def ranking_of_model(card: Mapping[str, Any], question: str = "constants") -> CalibratedRanking:
    """Return the ranking whose constants a model's card holds, the default ones if it has none.

    Parameters
    ----------
    card : dict
        Of the model.
    question : {"constants", "formula"}
        What was asked: a crystal of so many atoms, as in evaluations, or the stable crystal of a
        formula. Cards may hold constants of their own for the second.
    """
    fitted = card.get("ranking", {})
    if "constants" not in fitted:
        return CalibratedRanking(DEFAULT, is_fitted=False)
    constants = fitted.get(question, fitted["constants"])
    # Whoever types a known formula wants the crystal that is known: there is nothing to judge.
    familiar = fitted.get("familiar") if question == "formula" else None
    return CalibratedRanking(constants, generated=fitted.get("generated"), familiar=familiar)
