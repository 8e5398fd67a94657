"""What speaks for a candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.search.refine import Refined

Floats = NDArray[np.float64]

# Basins this far above the lowest tell no more by being higher still, nor do crystals by being
# farther from all that is known.
_HIGHEST = 0.3
FARTHEST = -15.0
SAME = -1e-6  # nearness of the same elements on the same sites

#: What :meth:`Evidence.as_array` holds, by name.
EVIDENCE = (
    "prototype",
    "generated",
    "lead of prototype",
    "lead of generated",
    "found",
    "nearness",
    "same composition",
    "odds of prototype",
    "odds of generated",
)


@dataclass(frozen=True)
class Evidence:
    """What speaks for one crystal of a class of equal ones.

    Parameters
    ----------
    known : float
        Probability that the prototype library gives it; 0 if it was generated.
    nearness : float
        Chemical log weight of the known crystal that is nearest to it; nothing if generated.
    lead : float
        Energy of the basin of its class per atom above the lowest of all classes, in the unit of
        the model.
    n_generated : int
        Members of its class that random or symmetric starts led to.
    log_odds : float
        What the judge of the model says of it; 0 without a judge.
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
                max(self.nearness, FARTHEST) * is_known,
                float(self.nearness > SAME) * is_known,
                self.log_odds * is_known,
                self.log_odds * (1.0 - is_known),
            ]
        )


def evidence(classes: Sequence[Sequence[Refined]]) -> list[list[Evidence]]:
    """Return what speaks for the witnesses of each class.

    Those are all of its prototypes and the first of what was generated. Several prototypes that
    are equal are so many reasons; how often chains end in a basin says little, because they run
    into wide ones.
    """
    lowest = [min(one.basin_energy_per_atom for one in members) for members in classes]
    floor = min(lowest, default=0.0)
    made = []
    for members, energy in zip(classes, lowest, strict=True):
        n_generated = sum(one.start.distance is None for one in members)
        made.append(
            [
                Evidence(
                    0.0 if one.start.distance is None else math.exp(-one.start.distance),
                    FARTHEST if one.start.nearness is None else one.start.nearness,
                    energy - floor,
                    n_generated,
                    one.log_odds or 0.0,
                )
                for one in witnesses(members)
            ]
        )
    return made


def witnesses(members: Sequence[Refined]) -> list[Refined]:
    """Return the members of a class that speak for it: prototypes, and the first generated."""
    known = [one for one in members if one.start.distance is not None]
    generated = [one for one in members if one.start.distance is None]
    return known + generated[:1]
