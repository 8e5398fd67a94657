"""Candidates that the judge of a model thinks too unlikely to be offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any

from ase_continuousp.search.rank import Ranked
from ase_continuousp.search.refine import Refined

_LIKELY = 0.02  # other evidence may outweigh the judge: what is as probable stays


@dataclass(frozen=True)
class LeastOdds:
    """How low the log-odds of a judge may be.

    A class of equal crystals is offered if one of its members has

        J ≥ J_built (taken as built: prototypes) or J ≥ J_generated (all others).

    Odds so low hardly ever belong to the right crystal. Where one of them matches the truth after
    all, it mostly does so loosely. The bounds were chosen on validation crystals and lie in the
    card of a model, as "least odds".

    Parameters
    ----------
    built, generated : float
        No bound by default.

    Raises
    ------
    TypeError, ValueError
        If one of them is not a number.

    Examples
    --------
    >>> LeastOdds.of_model({"least odds": {"generated": -3.0}})
    LeastOdds(built=-inf, generated=-3.0)
    """

    built: float = -inf
    generated: float = -inf

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        for name in ("built", "generated"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"least odds, {name}: must be a number: {value!r}")
            if isnan(value):
                raise ValueError(f"least odds, {name}: must be a number: {value}")

    @classmethod
    def of_model(cls, card: Mapping[str, Any]) -> LeastOdds:
        """Return the bounds in a model's card; no bounds if it has none.

        Raises
        ------
        ValueError
            If the card holds anything else there.
        """
        try:
            return cls(**card.get("least odds", {}))
        except TypeError as error:
            raise ValueError(f"the card of the model is wrong: {error}") from None

    def hold(self, one: Refined) -> bool:
        """Return whether the odds of a crystal are high enough; so they are without a judge."""
        least = self.built if one.start.noise <= 0 else self.generated
        return one.log_odds is None or one.log_odds >= least


def plausible(ranked: Sequence[Ranked], least: LeastOdds) -> list[Ranked]:
    """Return the classes of which a member is plausible.

    The first always stays, and so does what the ranking gives a probability of 0.02 or more: it
    knows more than the judge. Those that stay keep their places and their probabilities.

    Parameters
    ----------
    ranked : sequence of Ranked
        Best first.
    least : LeastOdds

    Examples
    --------
    >>> plausible([], LeastOdds())
    []
    """
    return [
        one
        for place, one in enumerate(ranked)
        if place == 0
        or (one.probability is not None and one.probability >= _LIKELY)
        or any(least.hold(member) for member in one.members)
    ]
