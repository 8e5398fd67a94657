"""Plain NumPy search over all images that can be reached: the specification of the backends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_continuousp import lattice
from ase_continuousp.neighborlist._check import check

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]


def search_one(
    positions: Floats, cell: Floats, cutoff: float, half: bool
) -> tuple[Integers, Integers, Integers]:
    """Return i, j, S of one crystal, sorted by all three.

    Along a cell vector, atoms at fractional distance df have images at df + S, which are further
    than the cutoff once |df + S| > cutoff / height; all others are tried.
    """
    fractional = lattice.to_fractional(positions, cell)
    spread = np.ptp(fractional, axis=0)
    reach = np.ceil(cutoff / lattice.heights(cell) + spread).astype(np.int64)
    shifts = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    translations = shifts.astype(np.float64) @ cell
    found: list[NDArray[np.int64]] = []
    for i, center in enumerate(positions):
        vectors = (positions - center)[:, None, :] + translations[None, :, :]
        inside = np.sqrt((vectors * vectors).sum(axis=-1)) < cutoff
        inside[i] &= np.any(shifts != 0, axis=1)
        j, s = np.nonzero(inside)
        if half:
            kept = (j > i) | ((j == i) & is_positive(shifts[s]))
            j, s = j[kept], s[kept]
        found.append(np.column_stack([np.full_like(j, i), j, shifts[s]]))
    pairs = np.concatenate(found)
    return pairs[:, 0], pairs[:, 1], pairs[:, 2:]


def is_positive(shifts: Integers) -> NDArray[np.bool_]:
    """Tell whether the first component of each shift that is not zero is positive."""
    a, b, c = shifts[:, 0], shifts[:, 1], shifts[:, 2]
    positive: NDArray[np.bool_] = (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
    return positive


def search_batch(
    positions: Floats, cells: Floats, offsets: Integers, cutoffs: Floats, half: bool
) -> tuple[Integers, Integers, Shifts, Integers]:
    """Return i, j, S and the first pair of every atom for a batch of crystals."""
    check(positions, cells, cutoffs)
    i_parts, j_parts, s_parts = [], [], []
    for b, start in enumerate(offsets[:-1]):
        if start == offsets[b + 1]:
            continue
        i, j, s = search_one(positions[start : offsets[b + 1]], cells[b], cutoffs[b], half)
        i_parts.append(i + start)
        j_parts.append(j + start)
        s_parts.append(s)
    empty = np.zeros(0, dtype=np.int64)
    i = np.concatenate([empty, *i_parts])
    j = np.concatenate([empty, *j_parts])
    shifts = np.concatenate([empty.reshape(0, 3), *s_parts]).astype(np.int32)
    first = np.searchsorted(i, np.arange(len(positions) + 1)).astype(np.int64)
    return i, j, shifts, first
