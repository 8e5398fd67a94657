"""Few samples that stand for the ends of many chains."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

CHOICES = ("lowest", "spread")


def check_choice(choose: str) -> None:
    """Raise unless this is a way to choose samples.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> check_choice("spread")
    >>> check_choice("best")
    Traceback (most recent call last):
    ValueError: choose must be one of lowest, spread: 'best'
    """
    if choose not in CHOICES:
        raise ValueError(f"choose must be one of {', '.join(CHOICES)}: {choose!r}")


def representatives(energies: ArrayLike, n: int) -> list[int]:
    """Return which n of many ends stand for all of them.

    The medoids S in energy: of all choices of n that with the smallest Σ_i min_{s∈S} |E_i − E_s|.
    Ends of one basin have one energy, so that a basin found often is taken once and the places
    are left for others; no true crystal is asked. In one dimension clusters are intervals and
    medoids their medians, so that the optimum is found exactly (Wang and Song 2011, Ckmeans.1d.dp,
    doi:10.32614/RJ-2011-015, with medians for means).

    Parameters
    ----------
    energies : array of shape (N,)
        Of ends of one composition, eV or any other unit.
    n : int
        How many to take; all if there are no more.

    Returns
    -------
    list of int
        In increasing order.

    Raises
    ------
    ValueError
        If n is less than one, or an energy is not finite.

    Examples
    --------
    >>> representatives([-1.0, -3.0, -1.01, -0.99, 0.5], 3)
    [0, 1, 4]
    """
    values = np.asarray(energies, dtype=float).ravel()
    if n < 1:
        raise ValueError(f"n must be at least 1: {n}")
    if not np.isfinite(values).all():
        raise ValueError(f"energies must be finite: {values.tolist()}")
    if len(values) <= n:
        return list(range(len(values)))
    order = np.argsort(values, kind="stable")
    # Measured from the middle: differences of large sums lose digits.
    x = values[order] - np.median(values)
    sums = np.concatenate([[0.0], np.cumsum(x)])
    ends = np.arange(len(x) + 1)
    first, last = ends[:, None], ends[None]
    middle = np.clip((first + last - 1) // 2, 0, len(x) - 1)
    # Of the interval first ≤ i < last about its lower median.
    above = sums[last] - sums[middle + 1] - (last - middle - 1) * x[middle]
    below = (middle - first) * x[middle] - (sums[middle] - sums[first])
    cost = np.where(first < last, above + below, np.inf)
    least = cost[0]
    begins = []
    for _ in range(n - 1):
        total = least[:, None] + cost
        begins.append(total.argmin(axis=0))
        least = total.min(axis=0)
    chosen = []
    end = len(x)
    for begin in [*reversed(begins), np.zeros(len(x) + 1, dtype=int)]:
        chosen.append(int(order[middle[begin[end], end]]))
        end = int(begin[end])
    return sorted(chosen)
