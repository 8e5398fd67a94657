"""Going through the steps of a chain to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from tqdm import tqdm

State = TypeVar("State")


def end_of(
    steps: Iterator[tuple[State, Any]], start: State, n_steps: int, *, progress: bool = False
) -> State:
    """Return the last state of a chain, or the one that it starts with if there is no step.

    Parameters
    ----------
    steps : iterator of (state, record)
    start : state
    n_steps : int
        For the progress bar.
    progress : bool
        Show it.

    Examples
    --------
    >>> end_of(((k, None) for k in range(3)), 0, 3)
    2
    """
    for reached, _ in tqdm(steps, "anneal", n_steps, disable=not progress):
        start = reached
    return start
