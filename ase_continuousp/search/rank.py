"""In what order candidates are proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.search.evidence import EVIDENCE, SAME, evidence, witnesses
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

    @property
    def needs_basins(self) -> bool:
        """Whether it matters where a quench would lead prototypes."""
        ...

    @property
    def needs_parents(self) -> bool:
        """Whether it matters what is said of the crystals that prototypes were made from."""
        ...

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

    needs_basins = False
    needs_parents = False

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes in the order of the energy of their representatives."""
        ranked = [Ranked(tuple(one), -one[0].found.energy_per_atom) for one in classes]
        order = np.argsort([-one.score for one in ranked], kind="stable")
        return [ranked[i] for i in order]


_LEADS = ("lead of prototype", "lead of generated")


class CalibratedRanking:
    """Prototype probabilities, energies and the judge in one fitted score.

    Each witness i of a class c of equal crystals has a score z_i = w · x_i, linear in its evidence
    (:mod:`ase_continuousp.search.evidence`), and "none of them" has the score w₀. The probability
    that c is the true crystal is

        p_c ∝ exp(β s_c),   s_c = log Σ_{i in c} exp(z_i),   p_none ∝ exp(β w₀),

    where the sharpness β corrects that more than one class may be near enough to count as right.
    The prototype with the highest score represents its class. The weights are fitted to validation
    crystals by :func:`ase_continuousp.search.calibration.fit_ranking` and lie in the card of a
    model; the probabilities hold for searches like those that they were fitted to. Where no class
    has a prototype other constants count, or else the lowest energy is first, without a
    probability.

    Parameters
    ----------
    constants : sequence of 10 floats
        w₀ and w, in the order of `EVIDENCE`.
    generated : sequence of 10 floats, optional
        Those for searches without prototypes.
    familiar : sequence of 10 floats, optional
        Those for searches whose library holds a crystal of the very composition.
    sharpness : float
        β for searches with prototypes; it does not change the order.
    is_fitted : bool
        Whether they were fitted. If not, there are no probabilities.

    Raises
    ------
    ValueError
        If there are not ten of any of them.

    Examples
    --------
    >>> CalibratedRanking(DEFAULT, is_fitted=False)([])
    []
    """

    needs_parents = False

    def __init__(
        self,
        constants: Sequence[float],
        *,
        generated: Sequence[float] | None = None,
        familiar: Sequence[float] | None = None,
        sharpness: float = 1.0,
        is_fitted: bool = True,
    ) -> None:
        self.constants = _checked("constants", constants)
        self.generated = None if generated is None else _checked("generated", generated)
        self.familiar = None if familiar is None else _checked("familiar", familiar)
        self.sharpness = sharpness
        self.is_fitted = is_fitted

    @property
    def needs_basins(self) -> bool:
        """Whether it matters where a quench would lead prototypes."""
        used = [w for w in (self.constants, self.familiar) if w is not None]
        return any(w[1 + EVIDENCE.index(name)] != 0.0 for w in used for name in _LEADS)

    def __call__(self, classes: Sequence[Sequence[Refined]]) -> list[Ranked]:
        """Return the classes, likeliest first; prototypes represent their class."""
        found = evidence(classes)
        if not found:
            return []
        constants, sharpness = self.constants, self.sharpness
        if not any(one.known > 0 for rows in found for one in rows):
            if self.generated is None:
                return EnergyRanking()(classes)  # the others weigh prototypes against the rest
            constants, sharpness = self.generated, 1.0
        elif self.familiar is not None and any(
            one.nearness > SAME for rows in found for one in rows
        ):
            constants = self.familiar
        own = [np.array([one.as_array() for one in rows]) @ constants[1:] for rows in found]
        scores = np.array([np.logaddexp.reduce(z) for z in own])
        shares = probabilities(scores, constants[0], sharpness)
        ranked = [
            Ranked(
                tuple(best_first(members, z)),
                float(score),
                float(share) if self.is_fitted else None,
            )
            for members, z, score, share in zip(classes, own, scores, shares, strict=True)
        ]
        return [ranked[i] for i in np.argsort(-scores, kind="stable")]


def probabilities(scores: ArrayLike, none: float, sharpness: float = 1.0) -> Floats:
    """Return exp(β s_c) / (exp(β w₀) + Σ exp(β s)) of each class.

    Parameters
    ----------
    scores : (n_classes,) array
    none : float
        Score w₀ of "none of them".
    sharpness : float
        β above.

    Examples
    --------
    >>> probabilities([0.0, 0.0], 0.0).tolist()
    [0.3333333333333333, 0.3333333333333333]
    """
    told = sharpness * np.append(np.asarray(scores, dtype=np.float64), none)
    shares = np.exp(told - told.max())
    made: Floats = (shares / shares.sum())[:-1]
    return made


def best_first(members: Sequence[Refined], scores: Floats) -> list[Refined]:
    """Return the members of a class, the one that represents it first.

    As built, prototypes are closer to the truth than what was generated.

    Parameters
    ----------
    members : sequence of Refined
    scores : (n_witnesses,) array
        Of its witnesses (:func:`ase_continuousp.search.evidence.witnesses`).
    """
    told = witnesses(members)
    n_known = sum(one.start.distance is not None for one in told)
    first = told[int(np.argmax(scores[:n_known]))] if n_known else told[0]
    return [first, *(one for one in members if one is not first)]


def _checked(name: str, constants: Sequence[float]) -> Floats:
    made = np.asarray(constants, dtype=np.float64)
    if made.shape != (1 + len(EVIDENCE),):
        raise ValueError(f"{name} must be {1 + len(EVIDENCE)} numbers: {len(made)}")
    return made


#: For models without constants of their own: guesses, so that there are no probabilities.
DEFAULT = (-2.0, 0.6, -3.0, -3.0, -3.0, 0.5, 0.0, 0.0, 1.0, 1.0)


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
    keys = ("formula", "formula familiar") if question == "formula" else ("constants", "familiar")
    return CalibratedRanking(
        fitted.get(keys[0], fitted["constants"]),
        generated=fitted.get("generated"),
        familiar=fitted.get(keys[1]),
        sharpness=fitted.get("sharpness", 1.0),
    )
