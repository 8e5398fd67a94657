"""How far above the lowest energy a generated crystal may lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ase_continuousp.search.refine import Refined


def check_window(window: float | None) -> None:
    """Raise unless the window is None or a positive number.

    Raises
    ------
    TypeError, ValueError
        If it is something else.

    Examples
    --------
    >>> check_window(0.05)
    >>> check_window(-1.0)
    Traceback (most recent call last):
    ValueError: window must be positive and finite: -1.0
    """
    if window is None:
        return
    if isinstance(window, bool) or not isinstance(window, int | float):
        raise TypeError(f"window must be a number: {window!r}")
    if not 0 < window < math.inf:
        raise ValueError(f"window must be positive and finite: {window}")


def in_window(refined: Sequence[Refined], window: float | None) -> list[Refined]:
    """Return the crystals without those generated that lie too high.

    A crystal of energy E per atom stays if E − E_min ≤ window, with E_min the lowest of all, before
    any last step. High minima are mostly defective relatives of low ones; where they come near the
    true crystal they do so loosely. Crystals taken as built, prototypes, stay whatever their
    energy: they do not lie in a minimum.

    Parameters
    ----------
    refined : sequence of Refined
        Of one composition.
    window : float or None
        In units of U per atom; None keeps all.

    Examples
    --------
    >>> in_window([], 0.1)
    []
    """
    if window is None or not refined:
        return list(refined)
    highest = min(one.found.energy_per_atom for one in refined) + window
    return [one for one in refined if one.start.noise <= 0 or one.found.energy_per_atom <= highest]
