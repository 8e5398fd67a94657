"""What a search is given, judged in detail; the compiled search only finds that something is wrong.

The tests here cost more time than a search among few atoms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def check(positions: Floats, cells: Floats, cutoffs: Floats) -> None:
    """Raise ValueError unless there is an answer.

    Raises
    ------
    ValueError
        Names the argument, the rule and the value.
    """
    valid = np.isfinite(cutoffs) & (cutoffs >= 0.0)
    if not np.all(valid):
        raise ValueError(f"cutoffs must be finite and not negative: {cutoffs[~valid].flat[0]}")
    for name, array in (("positions", positions), ("cells", cells)):
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} must be finite: found {array[~np.isfinite(array)][0]}")
    # Flatter cells are not described by numbers of 16 digits, and would have images without end.
    flat = np.abs(np.linalg.det(cells)) <= 1e-12 * np.sqrt((cells**2).sum(axis=2)).prod(axis=1)
    if np.any(flat):
        raise ValueError(
            "cells must have three independent vectors (volume > 0): "
            f"{cells[np.argmax(flat)].tolist()}"
        )
