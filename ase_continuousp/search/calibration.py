"""Fitting the ranking to searches whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

# Keeps weights finite where the searches do not tell them; leads are hundredths of the unit.
_DECAY = 1e-5


def fit_ranking(
    searches: Sequence[tuple[ArrayLike, ArrayLike]],
) -> tuple[tuple[float, ...], float]:
    """Return the constants of a ranking under which known answers are likeliest.

    With the scores z_c = w · x_c of the classes of a search, the constants maximize the mean of
    log Σ_{right c} exp(z_c)/Z, Z = exp(w₀) + Σ_c exp(z_c), and of log exp(w₀)/Z where no class is
    right.

    Parameters
    ----------
    searches : sequence of (evidence, is_right)
        Of each search: (n_classes, n_features) evidence, and which classes are right.

    Returns
    -------
    constants : tuple of float
        w₀ and w, for :class:`ase_continuousp.search.rank.CalibratedRanking`.
    loss : float
        Mean negative log-likelihood.

    Raises
    ------
    ValueError
        If there is no search.

    Examples
    --------
    >>> searches = [([[0.0], [1.0]], [False, True])] * 9 + [([[0.0], [1.0]], [False, False])]
    >>> constants, loss = fit_ranking(searches)
    >>> constants[1] > 0
    True
    """
    usable = [
        (np.asarray(x, dtype=np.float64), np.asarray(right, dtype=bool))
        for x, right in searches
        if len(np.asarray(right))
    ]
    if not usable:
        raise ValueError("searches must hold at least one search with a class")
    rows = np.concatenate([x for x, _ in usable])
    right = np.concatenate([r for _, r in usable])
    counts = np.array([len(r) for _, r in usable])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    index = np.repeat(np.arange(len(counts)), counts)
    solved = np.logical_or.reduceat(right, first)

    def loss(w: Floats) -> tuple[float, Floats]:
        z = rows @ w[1:]
        top = np.maximum(np.maximum.reduceat(z, first), w[0])
        shares, none = np.exp(z - top[index]), np.exp(w[0] - top)
        total = np.add.reduceat(shares, first) + none
        hit = np.where(solved, np.add.reduceat(shares * right, first), none)
        # d log(hit/total): what the answer wants less what is expected.
        pull = shares * right / hit[index] * solved[index] - shares / total[index]
        gradient = np.concatenate([[np.sum(~solved - none / total)], pull @ rows]) / len(counts)
        value = -np.mean(np.log(np.maximum(hit, 1e-300) / total)) + _DECAY * np.sum(w**2)
        return float(value), -gradient + 2.0 * _DECAY * w

    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B")
    constants = tuple(float(value) for value in found.x)
    return constants, float(found.fun - _DECAY * np.sum(found.x**2))
