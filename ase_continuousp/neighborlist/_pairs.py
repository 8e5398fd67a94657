"""From images to pairs: the part of a search that every pair goes through.

Only distances so close to the cutoff that rounding decides are taken again, from the Cartesian
positions as in ASE. Pairs are written center after center until there is no room for those of the
next; the caller makes more and the search resumes there.

Of the notes in `_images` both apply here too: the length of the code is compile time, and after
an edit the ``__pycache__`` of this folder must go. Array names as there, p for pair, k for found.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ase_continuousp.neighborlist._images import (
    Floats,
    Integers,
    Shifts,
    inner,
    lay_out,
    turn,
    wrap,
)

# Squared distances within this relative margin of the squared cutoff are decided exactly; far
# above rounding errors of the frame, far below what would make exact tests frequent.
MARGIN = 1e-9

# Images of a crystal from which on bins pay.
BINNED = 1300

# Why a search stopped.
DONE, REFUSED, MORE_IMAGES, MORE_PAIRS, BINS = range(5)


class Room:
    """What kernels write to besides pairs: frame, atoms in the brick, images, what was found."""

    def __init__(self, n_images: int) -> None:
        self.n_images = n_images
        self.order = np.empty(6, dtype=np.int64)
        self.frame = np.empty((9, 3))
        self.atoms = np.empty((3, n_images))
        self.wraps = np.empty((n_images, 3), dtype=np.int32)
        self.images = np.empty((3, n_images + 1))
        self.origins = np.empty((n_images + 1, 4), dtype=np.int32)
        # One more than images: the next one is written before it is known to count.
        self.squared = np.empty(n_images + 2)
        self.found = np.empty(n_images + 2, dtype=np.int32)
        self.arrays = (
            self.order, self.frame, self.atoms, self.wraps, self.images, self.origins,
            self.squared, self.found,
        )  # fmt: skip


outer = numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)


@inner
def pick(
    a: int,
    start: int,
    stop: int,
    m: int,
    limit: float,
    atoms_xa: Floats,
    images_xg: Floats,
    squared_k: Floats,
    found_k: Shifts,
) -> int:
    """Append the images from `start` to `stop` near atom a to the m found; return their number."""
    x, y, z = atoms_xa[0, a], atoms_xa[1, a], atoms_xa[2, a]
    # Unsigned: for indices that could be negative, Numba would add a test to each access, and the
    # loop would not be vectorized.
    n, begin, end = np.uint64(stop - start), np.uint64(start), np.uint64(m)
    for g in range(n):
        dx = images_xg[0, begin + g] - x
        dy = images_xg[1, begin + g] - y
        dz = images_xg[2, begin + g] - z
        squared_k[end + g] = dx * dx + dy * dy + dz * dz
    k = end
    for g in range(n):
        squared = squared_k[end + g]
        squared_k[k] = squared
        found_k[k] = begin + g
        k += np.uint64(squared < limit)  # no branch: which images are near cannot be foretold
    return int(np.int64(k))


@inner
def write(
    positions_ax: Floats,
    cells_rx: Floats,
    row: int,
    cutoff: float,
    half: bool,
    begin: int,
    a: int,
    wraps_ac: Shifts,
    origins_gc: Shifts,
    squared_k: Floats,
    found_k: Shifts,
    m: int,
    p: int,
    pairs_cp: Integers,
    shifts_pc: Shifts,
) -> int:
    """Write the m images found around atom a from pair p on; return the next pair."""
    certain = cutoff * cutoff * (1.0 - MARGIN)
    i = begin + a
    for k in range(m):
        g = found_k[k]
        b = origins_gc[g, 3]
        j = begin + b
        sign = 0  # of the first component of S that is not zero
        for c in range(3):
            s = origins_gc[g, c] - wraps_ac[a, c]
            shifts_pc[p, c] = s
            sign = (sign << 20) + s
        if (half and b < a) or (b == a and (sign == 0 or (half and sign < 0))):
            continue
        pairs_cp[0, p] = i
        pairs_cp[1, p] = j
        if squared_k[k] > certain:
            total = 0.0
            for x in range(3):  # in the order of operations of ASE
                image = (
                    shifts_pc[p, 0] * cells_rx[row, x]
                    + shifts_pc[p, 1] * cells_rx[row + 1, x]
                    + shifts_pc[p, 2] * cells_rx[row + 2, x]
                )
                component = (positions_ax[j, x] - positions_ax[i, x]) + image
                total += component * component
            if math.sqrt(total) >= cutoff:
                continue
        p += 1
    return p


@outer
def fill(
    positions_ax: Floats,
    cells_rx: Floats,
    offsets: Integers,
    cutoffs: Floats,
    half: bool,
    reached: int,
    first: Integers,
    pairs_cp: Integers,
    shifts_pc: Shifts,
    order: Integers,
    frame_rx: Floats,
    atoms_xa: Floats,
    wraps_ac: Shifts,
    images_xg: Floats,
    origins_gc: Shifts,
    squared_k: Floats,
    found_k: Shifts,
) -> tuple[int, int, int]:
    """Write the pairs from center `reached` on.

    Returns why it stopped, the first center that is not done, and, if it stopped because the
    images of the next crystal are so many that bins pay, their number.
    """
    p = first[reached]
    n = 0
    for b in range(len(cutoffs)):
        begin, end, cutoff = offsets[b], offsets[b + 1], cutoffs[b]
        if not (turn(cells_rx, 3 * b, order, frame_rx) and 0.0 <= cutoff < math.inf):
            return REFUSED, reached, n
        if end <= reached:  # done, or empty
            continue
        if end - begin > images_xg.shape[1]:
            return MORE_IMAGES, reached, n
        if not wrap(positions_ax, begin, end, order, frame_rx, atoms_xa, wraps_ac):
            return REFUSED, reached, n
        limit = cutoff * cutoff * (1.0 + MARGIN)
        n = lay_out(end - begin, limit, order, frame_rx, atoms_xa, wraps_ac, images_xg, origins_gc)
        if n < 0:
            return MORE_IMAGES, reached, n
        if n > BINNED:
            return BINS, reached, n
        for i in range(reached, end):
            a = i - begin
            m = pick(a, 0, n, 0, limit, atoms_xa, images_xg, squared_k, found_k)
            if p + m >= pairs_cp.shape[1]:
                return MORE_PAIRS, reached, n
            p = write(
                positions_ax, cells_rx, 3 * b, cutoff, half, begin, a, wraps_ac, origins_gc,
                squared_k, found_k, m, p, pairs_cp, shifts_pc,
            )  # fmt: skip
            reached = i + 1
            first[reached] = p
    return DONE, reached, n
