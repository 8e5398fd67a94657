"""Atoms of a large crystal in an order in which neighbors in space are neighbors in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals

# Atoms from which on the rows of a crystal and of its neighbors no longer fit into the cache.
MANY = 4096
# Bins along each axis, as a power of two; more would exceed 63 bits.
_BITS = 10


def along_curve(crystal: Crystals) -> NDArray[np.int64]:
    """Return the order of atoms along a Morton curve through the cell.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.

    Examples
    --------
    >>> import numpy as np
    >>> corners = [[0.6, 0.6, 0.6], [0, 0, 0], [0.6, 0, 0], [0, 0, 0.6]]
    >>> along_curve(Crystals.single(corners, np.eye(3), [84] * 4)).tolist()
    [1, 2, 3, 0]
    """
    fractional = crystal.fractional
    bins = ((fractional - np.floor(fractional)) * (1 << _BITS)).astype(np.int64)
    key = np.zeros(len(bins), dtype=np.int64)
    for bit in range(_BITS):
        for axis in range(3):
            key |= ((bins[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(key, kind="stable")
