"""Checks of arguments that several public functions share."""

from __future__ import annotations

import numpy as np


def check_count(name: str, value: int) -> None:
    """Raise unless the value is a whole number of at least 1.

    Examples
    --------
    >>> check_count("n_samples", 20)
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number: {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1: {value}")


def check_seed(seed: int) -> None:
    """Raise unless the seed is a whole number of at least 0.

    Examples
    --------
    >>> check_seed(0)
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be a whole number: {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative: {seed}")


def check_share(name: str, share: float) -> None:
    """Raise unless the share is a number of at least 0 and below 1.

    Examples
    --------
    >>> check_share("share", 0.5)
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise ValueError(f"{name} must lie in [0, 1): {share!r}")
