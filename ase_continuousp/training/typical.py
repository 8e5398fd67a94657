"""How typical crystals are of their kind, and data in which typical ones occur more often."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from ase_continuousp.arguments import check_count
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Pair = tuple[int, int]

_STOL = 0.5  # the largest distance of crystals that match
_LOOSE = 0.2  # what the loosest match counts; the closest counts 1
_LONELY = 0.02  # added, so that what is like no other keeps a share
_PER_TASK = 50


def typicality(
    crystals: Crystals,
    *,
    n_others: int = 40,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = False,
) -> Floats:
    """Return how much of its kind each crystal is like.

    The kind of a crystal are those of the same atoms. With the RMS distance d_ij of two crystals
    that match, in units of (V/N)^(1/3), the typicality is the mean over others drawn from it::

        t_i = mean_j [i matches j] (1 − 0.8 d_ij/0.5)

    Parameters
    ----------
    crystals : Crystals
    n_others : int
        About how many others each crystal is compared with; all where the kind has no more.
    seed : int
        Of the choice of others.
    executor : concurrent.futures.Executor, optional
        Where to compare; in this process if not given.
    progress : bool
        Show a progress bar.

    Returns
    -------
    (n_crystals,) array
        Between 0 and 1; 0 for a crystal alone of its kind.

    Raises
    ------
    TypeError, ValueError
        If n_others is not a positive integer.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> cells = [bulk("C", a=3.5), bulk("C", a=3.6), bulk("C", "hcp", a=2.5)]
    >>> typicality(io.from_atoms(cells)).round(3).tolist()
    [0.5, 0.5, 0.0]
    """
    check_count("n_others", n_others)
    pairs = _pairs(crystals, n_others, np.random.default_rng(seed))
    cells = list(crystals)
    tasks = [pairs[k : k + _PER_TASK] for k in range(0, len(pairs), _PER_TASK)]
    batches = ([(cells[i], cells[j]) for i, j in task] for task in tasks)
    total, n = np.zeros(len(cells)), np.zeros(len(cells))
    found = map(_likeness, batches) if executor is None else executor.map(_likeness, batches)
    with tqdm(total=len(pairs), desc="comparing", unit="pair", disable=not progress) as bar:
        for task, values in zip(tasks, found, strict=True):
            for side in zip(*task, strict=True):
                np.add.at(total, list(side), values)
                np.add.at(n, list(side), 1.0)
            bar.update(len(task))
    made: Floats = total / np.maximum(n, 1.0)
    return made


def repeats(typical: ArrayLike, *, preference: float, mean: int = 4) -> Integers:
    """Return how often each crystal is to be in data that prefer typical ones.

    Its share of the data is proportional to (t_i + 0.02)^a, a choice of our own: where t follows
    the law p(x) of the crystals, such data follow p(x)^(1+a), as at a lower temperature.

    Parameters
    ----------
    typical : (n_crystals,) array
        t_i, of :func:`typicality`.
    preference : float
        a; 0 prefers none.
    mean : int
        How often a crystal is in the data on average: the larger, the finer the shares.

    Raises
    ------
    TypeError, ValueError
        If preference is negative or not finite, or mean no positive integer.

    Examples
    --------
    >>> repeats([0.5, 0.5, 0.0], preference=0.0).tolist()
    [4, 4, 4]
    >>> repeats([0.5, 0.5, 0.0], preference=0.5).tolist()
    [5, 6, 1]
    """
    check_count("mean", mean)
    if not 0.0 <= preference < np.inf:
        raise ValueError(f"preference must not be negative, and finite: {preference}")
    shares = (np.asarray(typical, dtype=np.float64) + _LONELY) ** preference
    ends = np.cumsum(shares / shares.mean() * mean) if len(shares) else shares
    whole = np.floor(np.concatenate([[0.0], ends]) + 0.5).astype(np.int64)
    made: Integers = whole[1:] - whole[:-1]
    return made


def _pairs(crystals: Crystals, n_others: int, rng: np.random.Generator) -> list[Pair]:
    """Return pairs of the same atoms, each once, of which every crystal is in about as many."""
    kinds: dict[bytes, list[int]] = {}
    for i, one in enumerate(crystals):
        kinds.setdefault(np.sort(one.numbers).tobytes(), []).append(i)
    made: set[Pair] = set()
    for members in kinds.values():
        if len(members) <= n_others + 1:
            made.update((i, j) for i in members for j in members if i < j)
        else:
            made.update(_rings(np.array(members), n_others, rng))
    return sorted(made)


def _rings(members: Integers, n_others: int, rng: np.random.Generator) -> Iterator[Pair]:
    # Each crystal has two neighbors in a ring.
    for _ in range((n_others + 1) // 2):
        ring = rng.permutation(members).tolist()
        for i, j in zip(ring, ring[1:] + ring[:1], strict=True):
            yield min(i, j), max(i, j)


def _likeness(pairs: list[tuple[Crystals, Crystals]]) -> list[float]:
    distances = [rms_distance(one, other) for one, other in pairs]
    return [0.0 if d is None else 1.0 - (1.0 - _LOOSE) * d / _STOL for d in distances]
