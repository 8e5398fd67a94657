"""The learning rate over a run, and how it follows the size of the batch."""

from __future__ import annotations

import math

DECAYS = ("cosine", "linear", "constant")
BATCH_RULES = ("sqrt", "linear", "none")


def schedule(step: int, steps: int, warmup: int, decay: str = "cosine") -> float:
    """Return the factor on the learning rate: linear warm-up, then what `decay` says.

    Parameters
    ----------
    step : int
        Updates done.
    steps, warmup : int
        Updates in all, and of the warm-up.
    decay : str
        "cosine" or "linear" falls to zero at the end, "constant" does not.

    Examples
    --------
    >>> schedule(0, 100, 10), schedule(10, 100, 10), round(schedule(55, 100, 10), 3)
    (0.1, 1.0, 0.5)
    >>> schedule(32, 100, 10, "linear") > schedule(78, 100, 10, "linear")
    True
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if decay == "constant":
        return 1.0
    if decay == "linear":
        return 1.0 - done
    return 0.5 * (1.0 + math.cos(math.pi * done))


def batch_factor(batch_size: int, reference: int, rule: str) -> float:
    """Return the factor on the learning rate for a batch of another size.

    The noise of a mean gradient falls as one over the root of the batch. Adam divides by the
    size of the gradient, so "sqrt" keeps the noise of an update per sample (Malladi et al. 2022,
    arXiv:2205.10287); "linear" is the rule for plain gradient descent (Goyal et al. 2017,
    arXiv:1706.02677).

    Examples
    --------
    >>> batch_factor(8192, 32, "sqrt"), batch_factor(64, 32, "linear"), batch_factor(64, 32, "none")
    (16.0, 2.0, 1.0)
    """
    ratio = batch_size / reference
    return {"sqrt": math.sqrt(ratio), "linear": ratio, "none": 1.0}[rule]
