"""Compiled search over a batch of crystals: images laid out once, then plain distances.

All images within the cutoff of the box around the atoms of a crystal are written down once.
Distances from a center to a run of images are one vectorized loop, and the few images inside are
picked without branches. Images are sorted into bins, runs of bins along z, if there are so many
that bins pay; the cost is linear in the atoms.

Only distances so close to the cutoff that rounding decides are taken again, from the Cartesian
positions as in ASE. Pairs are written center after center until the buffers are full; the caller
enlarges them and the search resumes with the center that did not fit.

Suffixes: a atom, b crystal, g image ("ghost"), p pair, c Cartesian or cell vector.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from ase_continuousp.neighborlist._images import (
    lay_out,
    outside,
    sort_into_bins,
    triangular,
    wrap,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]

# Squared distances within this relative margin of the squared cutoff are decided exactly; far
# above rounding errors of the frame, far below what would make exact tests frequent.
MARGIN = 1e-9

# Images per crystal from which on bins pay, and bins per cutoff along each axis.
BINNED = 1300
BINS_PER_CUTOFF = 1.0

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def pick(
    x: float,
    y: float,
    z: float,
    limit: float,
    images_cg: Floats,
    start: int,
    stop: int,
    squared_g: Floats,
    found: Integers,
    n: int,
) -> int:
    """Append the images from `start` to `stop` within `limit` to `found`; return their number."""
    # Slices counted from 0 and an unsigned counter: for indices that could be negative, Numba
    # would add a test to each access, and the loops would not be vectorized.
    xs, ys, zs = images_cg[0, start:stop], images_cg[1, start:stop], images_cg[2, start:stop]
    squared = squared_g[start:stop]
    for g in range(len(xs)):
        dx = xs[g] - x
        dy = ys[g] - y
        dz = zs[g] - z
        squared[g] = dx * dx + dy * dy + dz * dz
    rest = found[n:]
    m = np.uint64(0)
    for g in range(len(xs)):
        rest[m] = start + g
        m += np.uint64(squared[g] < limit)
    return n + int(np.int64(m))


@_jit
def pick_from_bins(
    x: float,
    y: float,
    z: float,
    limit: float,
    images_cg: Floats,
    low_c: Floats,
    edges: Floats,
    shape: Integers,
    starts: Integers,
    squared_g: Floats,
    found: Integers,
) -> int:
    """Do `pick` for the bins that a sphere meets, one run along z for each column of bins."""
    n = 0
    radius = math.sqrt(limit)
    first0 = max(0, math.floor((x - radius - low_c[0]) / edges[0]))
    last0 = min(shape[0] - 1, math.floor((x + radius - low_c[0]) / edges[0]))
    for b0 in range(first0, last0 + 1):
        x_low = low_c[0] + b0 * edges[0]
        rest_x = limit - outside(x, x_low, x_low + edges[0])
        if rest_x < 0.0:
            continue
        width = math.sqrt(rest_x)
        first1 = max(0, math.floor((y - width - low_c[1]) / edges[1]))
        last1 = min(shape[1] - 1, math.floor((y + width - low_c[1]) / edges[1]))
        for b1 in range(first1, last1 + 1):
            y_low = low_c[1] + b1 * edges[1]
            rest_y = rest_x - outside(y, y_low, y_low + edges[1])
            if rest_y < 0.0:
                continue
            width = math.sqrt(rest_y)
            first2 = max(0, math.floor((z - width - low_c[2]) / edges[2]))
            last2 = min(shape[2] - 1, math.floor((z + width - low_c[2]) / edges[2]))
            if first2 > last2:
                continue
            column = (b0 * shape[1] + b1) * shape[2]
            n = pick(
                x, y, z, limit, images_cg, starts[column + first2], starts[column + last2 + 1],
                squared_g, found, n,
            )  # fmt: skip
    return n


@_jit
def is_inside(
    positions_ac: Floats,
    cells: Floats,
    b: int,
    i: int,
    j: int,
    s0: int,
    s1: int,
    s2: int,
    cutoff: float,
) -> bool:
    """Tell whether |r_j - r_i + S L| < cutoff, in the order of operations of ASE."""
    total = 0.0
    for c in range(3):
        image = s0 * cells[b, 0, c] + s1 * cells[b, 1, c] + s2 * cells[b, 2, c]
        component = (positions_ac[j, c] - positions_ac[i, c]) + image
        total += component * component
    return math.sqrt(total) < cutoff


@_jit
def is_left_out(half: bool, is_self: bool, s0: int, s1: int, s2: int) -> bool:
    """Tell whether a pair with j <= i is no pair, or is listed the other way round."""
    if not is_self:
        return half
    if s0 == 0 and s1 == 0 and s2 == 0:
        return True
    return half and not (s0 > 0 or (s0 == 0 and (s1 > 0 or (s1 == 0 and s2 > 0))))


@_jit
def write(
    positions_ac: Floats,
    cells: Floats,
    cutoff: float,
    half: bool,
    b: int,
    begin: int,
    a: int,
    wraps_c: Integers,
    origins_gc: Shifts,
    squared_g: Floats,
    found: Integers,
    p: int,
    i_p: Integers,
    j_p: Integers,
    shifts_pc: Shifts,
) -> int:
    """Write the images found around atom a of crystal b from pair p on; return the next pair."""
    certain = cutoff * cutoff * (1.0 - MARGIN)
    i = begin + a
    w0, w1, w2 = wraps_c[0], wraps_c[1], wraps_c[2]
    for g in found:
        j = origins_gc[g, 0]
        s0, s1, s2 = origins_gc[g, 1] - w0, origins_gc[g, 2] - w1, origins_gc[g, 3] - w2
        if j <= a and is_left_out(half, j == a, s0, s1, s2):
            continue
        if squared_g[g] > certain and not is_inside(
            positions_ac, cells, b, i, begin + j, s0, s1, s2, cutoff
        ):
            continue
        i_p[p] = i
        j_p[p] = begin + j
        shifts_pc[p, 0] = s0
        shifts_pc[p, 1] = s1
        shifts_pc[p, 2] = s2
        p += 1
    return p


@_jit
def fill(
    positions_ac: Floats,
    cells: Floats,
    offsets: Integers,
    cutoffs: Floats,
    half: bool,
    start: int,
    first: Integers,
    i_p: Integers,
    j_p: Integers,
    shifts_pc: Shifts,
) -> int:
    """Write the pairs from center `start` on; return the first center that did not fit."""
    p = first[start]
    images_cg = np.empty((3, 1024))
    origins_gc = np.empty((1024, 4), dtype=np.int32)
    squared_g = np.empty(1024)
    found = np.empty(1025, dtype=np.int64)  # one more than images: see pick
    wraps_c = np.empty(3, dtype=np.int64)
    low_c, edges = np.empty(3), np.empty(3)
    shape, starts = np.empty(3, dtype=np.int64), np.empty(1, dtype=np.int64)
    for b in range(np.searchsorted(offsets, start, side="right") - 1, len(cells)):
        begin, end = offsets[b], offsets[b + 1]
        cutoff = cutoffs[b]
        if cutoff == 0.0 or begin == end:
            first[max(start, begin) + 1 : end + 1] = p
            continue
        limit = cutoff * cutoff * (1.0 + MARGIN)
        order, triangle, axes = triangular(cells[b])
        wrapped_ca, wraps_ac = wrap(positions_ac[begin:end], axes, triangle)
        n = lay_out(wrapped_ca, wraps_ac, order, triangle, limit, images_cg, origins_gc)
        if n > len(squared_g):
            images_cg = np.empty((3, n))
            origins_gc = np.empty((n, 4), dtype=np.int32)
            squared_g = np.empty(n)
            found = np.empty(n + 1, dtype=np.int64)
            lay_out(wrapped_ca, wraps_ac, order, triangle, limit, images_cg, origins_gc)
        images, origins = images_cg, origins_gc
        if n > BINNED:
            images, origins, low_c, edges, shape, starts = sort_into_bins(
                images_cg, origins_gc, n, cutoff / BINS_PER_CUTOFF
            )
        for i in range(max(start, begin), end):
            a = i - begin
            x, y, z = wrapped_ca[0, a], wrapped_ca[1, a], wrapped_ca[2, a]
            if n > BINNED:
                m = pick_from_bins(
                    x, y, z, limit, images, low_c, edges, shape, starts, squared_g, found
                )
            else:
                m = pick(x, y, z, limit, images, 0, n, squared_g, found, 0)
            if p + m > len(i_p):
                return i
            for c in range(3):
                wraps_c[order[c]] = wraps_ac[a, c]
            p = write(
                positions_ac, cells, cutoff, half, b, begin, a, wraps_c, origins, squared_g,
                found[:m], p, i_p, j_p, shifts_pc,
            )  # fmt: skip
            first[i + 1] = p
    return len(positions_ac)


@_jit
def expected_pairs(cells: Floats, offsets: Integers, cutoffs: Floats) -> float:
    """Return the pairs of a full list if the atoms of each crystal were anywhere in it.

    Averaged over the places of two atoms, a sphere holds V_sphere / V images of the other.
    """
    total = 0.0
    for b in range(len(cells)):
        n_atoms = offsets[b + 1] - offsets[b]
        sphere = 4.0 / 3.0 * math.pi * cutoffs[b] ** 3
        total += n_atoms * n_atoms * sphere / abs(np.linalg.det(cells[b]))
    return total


def allocate(n_pairs: int) -> tuple[Integers, Integers, Shifts]:
    """Return uninitialized i, j and S in one block of memory.

    NumPy asks the system for large pages for blocks of 4 MiB and more; touching a fresh block of
    usual pages would cost as much as the search. Memory that is not written is never occupied.
    """
    n_bytes = 28 * n_pairs
    block = np.empty(n_bytes if n_bytes < 1 << 19 else max(n_bytes, 1 << 22), dtype=np.uint8)
    i = block[: 8 * n_pairs].view(np.int64)
    j = block[8 * n_pairs : 16 * n_pairs].view(np.int64)
    shifts = block[16 * n_pairs : 28 * n_pairs].view(np.int32).reshape(n_pairs, 3)
    return i, j, shifts


def search_batch(
    positions: Floats, cells: Floats, offsets: Integers, cutoffs: Floats, half: bool
) -> tuple[Integers, Integers, Shifts, Integers]:
    """Return i, j, S and the first pair of every atom for a batch of crystals."""
    n_atoms = len(positions)
    expected = expected_pairs(cells, offsets, cutoffs) / (2 if half else 1)
    found = allocate(int(1.1 * expected) + 64)
    first = np.zeros(n_atoms + 1, dtype=np.int64)
    reached = 0
    while True:
        reached = fill(positions, cells, offsets, cutoffs, half, reached, first, *found)
        n_pairs = int(first[reached])
        if reached == n_atoms:
            i, j, shifts = found
            return i[:n_pairs], j[:n_pairs], shifts[:n_pairs], first
        larger = allocate(2 * len(found[0]))
        larger[0][:n_pairs] = found[0][:n_pairs]
        larger[1][:n_pairs] = found[1][:n_pairs]
        larger[2][:n_pairs] = found[2][:n_pairs]
        found = larger
