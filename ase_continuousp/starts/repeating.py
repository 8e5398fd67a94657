"""Supercells of prototypes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def repeated(
    cell: Floats, fractional: Floats, labels: Integers, n_atoms: int
) -> tuple[Floats, Floats, Integers]:
    """Repeat a cell to a number of atoms, along its shortest vectors first."""
    times = n_atoms // len(labels)
    for factor in _prime_factors(times):
        axis = int(np.argmin(np.linalg.norm(cell, axis=1)))
        images = [np.eye(3)[axis] * k for k in range(factor)]
        scale = np.ones(3)
        scale[axis] = factor
        fractional = np.concatenate([(fractional + image) / scale for image in images])
        labels = np.tile(labels, factor)
        cell = cell * scale[:, None]
    return cell, fractional, labels


def _prime_factors(n: int) -> list[int]:
    """Return the prime factors, largest first."""
    found = []
    divisor = 2
    while n > 1:
        while n % divisor == 0:
            found.append(divisor)
            n //= divisor
        divisor += 1
    return found[::-1]
