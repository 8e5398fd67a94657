"""Fitting what generated crystals count beside a ranker's prototypes, to answered searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ase_continuousp.search.list_ranking import Listed

Floats = NDArray[np.float64]

Answered = tuple[Listed, NDArray[np.bool_]]

_DECAY = 1e-3  # keeps constants finite that the searches do not tell
_BEGIN = (-2.0, 0.5, 0.0, 1.0)


def fit_list_constants(
    searches: Sequence[Answered],
) -> tuple[dict[str, object], float]:
    """Return the constants under which known answers are likeliest, and the loss.

    With the probabilities p of :class:`ase_continuousp.search.list_ranking.ListRanking`, the mean
    of log Σ_{right c} p_c, or of log p_nothing where no class is right, is maximized.

    Parameters
    ----------
    searches : sequence of (Listed, is_right)
        Of crystals that the ranker has not learned from: what is said of the classes, and which of
        them are right, (n_classes,).

    Returns
    -------
    constants : dict
        Keyword arguments of ListRanking, for the card of a model.
    loss : float
        Mean negative log-likelihood.

    Raises
    ------
    ValueError
        If there is no search with a class.

    Examples
    --------
    >>> listed = Listed([np.array([2.0])], [np.zeros(0)], 0.0)
    >>> sorted(fit_list_constants([(listed, np.array([True]))] * 9)[0])
    ['generated', 'nothing', 'sharpness']
    """
    usable = [(listed, right) for listed, right in searches if len(right)]
    if not usable:
        raise ValueError("searches must hold at least one search with a class")

    negative_log_likelihood = _likelihood(usable)

    def loss(w: Floats) -> float:
        return negative_log_likelihood(w) + _DECAY * float(np.sum((w - np.array(_BEGIN)) ** 2))

    found = minimize(loss, _BEGIN, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    a, b, c, sharpness = (round(float(value), 4) for value in found.x)
    constants = {"generated": [a, b], "nothing": c, "sharpness": sharpness}
    return constants, negative_log_likelihood(found.x)


def _likelihood(searches: Sequence[Answered]) -> Callable[[Floats], float]:
    """Return the mean negative log-likelihood of the answers as a function of the constants."""
    fixed, odds, classes = [], [], []
    for listed, _ in searches:
        for mine, generated in zip(listed.prototypes, listed.odds, strict=True):
            fixed.append(np.append(mine, np.full(len(generated), listed.none)))
            odds.append(np.append(np.full(len(mine), np.nan), generated))
            classes.append(len(fixed[-1]))
    base, judged = np.concatenate(fixed), np.concatenate(odds)
    is_generated = ~np.isnan(judged)
    judged = np.where(is_generated, judged, 0.0)
    counts = np.array([len(right) for _, right in searches])
    none = np.array([listed.none for listed, _ in searches])
    is_right = np.concatenate([right for _, right in searches])
    solved = np.array([right.any() for _, right in searches])

    def loss(w: Floats) -> float:
        a, b, c, sharpness = w
        scores = sharpness * _log_sums(base + is_generated * (a + b * judged), np.array(classes))
        nothing = sharpness * (none + c)
        total = np.logaddexp(_log_sums(scores, counts), nothing)
        right = _log_sums(np.where(is_right, scores, -np.inf), counts)
        return float(np.mean(total - np.where(solved, right, nothing)))

    return loss


def _log_sums(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return log Σ exp of consecutive groups of values, none of which is empty."""
    made: Floats = np.logaddexp.reduceat(values, np.cumsum(counts) - counts)
    return made
