"""Temperature and step size as functions of the progress of an anneal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A positive quantity as a function of progress, from 0 at the start to 1 at the end."""

    def __call__(self, progress: float) -> float:
        """Return the value at this progress."""
        ...


@dataclass(frozen=True)
class Geometric:
    """A value that falls (or rises) by a constant factor per step.

    v(p) = first (last / first)^p

    Parameters
    ----------
    first, last : float
        Values at progress 0 and 1, both positive.

    Raises
    ------
    ValueError
        If a value is not positive and finite.

    Examples
    --------
    >>> cooling = Geometric(1.0, 1e-2)
    >>> [round(cooling(p), 12) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.1, 0.01]
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        """Refuse values that have no logarithm."""
        for name, value in (("first", self.first), ("last", self.last)):
            if not 0.0 < value < float("inf"):
                raise ValueError(f"{name} value of a schedule must be positive: {value}")

    def __call__(self, progress: float) -> float:
        """Return the value at this progress."""
        return float(self.first * (self.last / self.first) ** progress)


def progress(step: int, n_steps: int) -> float:
    """Return how far a run is before its step of this index, in [0, 1].

    The first step has progress 0 and the last one 1, so both ends of a schedule are used.

    Examples
    --------
    >>> [progress(step, 5) for step in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return min(1.0, step / max(1, n_steps - 1))


def positive_pair(name: str, values: tuple[float, float]) -> tuple[float, float]:
    """Return two positive numbers, or raise an error that names the argument.

    Examples
    --------
    >>> positive_pair("temperature", (1, 0.5))
    (1.0, 0.5)
    """
    try:
        first, last = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a pair of numbers: {values!r}") from None
    if not (0.0 < first < math.inf and 0.0 < last < math.inf):
        raise ValueError(f"{name} must be two positive, finite numbers: {values!r}")
    return first, last
