"""Compiled search over a batch of crystals: images laid out once, then plain distances.

Each crystal is turned into a frame in which its cell is triangular, so that a brick of the same
volume, with edges along x, y, z, repeats in its place; atoms are wrapped into that brick, however
skewed the cell is. All images within the cutoff of the box around the atoms are written down
once. From there on nothing is periodic: distances from a center to a run of images are one
vectorized loop, and the few images inside are picked without branches. Images are sorted into
bins, runs of bins along z, if there are so many that bins pay; the cost is linear in the atoms.

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

from ase_continuousp import lattice

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]

# Squared distances within this relative margin of the squared cutoff are decided exactly; far
# above rounding errors of the frame, far below what would make exact tests frequent.
MARGIN = 1e-9

# Atoms are wrapped into [-ORIGIN, 1 - ORIGIN) of the brick: many crystals have atoms on the faces
# of the cell, which rounding would otherwise scatter to both sides.
ORIGIN = 0.1

# Images per crystal from which on bins pay, and bins per cutoff along each axis.
BINNED = 1300
BINS_PER_CUTOFF = 1.0

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def triangular(cell: Floats) -> tuple[Integers, Floats, Floats]:
    """Return the order of the cell vectors, the triangular cell and the frame.

    Rows of the triangular cell are the longest vector (ax, ay, az), then (0, by, bz), then the
    shortest (0, 0, cz), all of ax, by, cz > 0; rows of the frame are its axes x, y, z. The frame
    may be a reflection, since only distances matter.
    """
    lengths = np.array([(cell[c] ** 2).sum() for c in range(3)])
    order = np.argsort(-lengths)
    triangle = np.zeros((3, 3))
    axes = np.zeros((3, 3))
    for c in (2, 1, 0):
        vector = cell[order[c]].copy()
        for _ in range(2):  # the second pass removes what rounding left in flat cells
            for d in range(2, c, -1):
                part = (vector * axes[d]).sum()
                triangle[c, d] += part
                vector -= part * axes[d]
        triangle[c, c] = math.sqrt((vector**2).sum())
        axes[c] = vector / triangle[c, c]
    return order, triangle, axes


@_jit
def wrap(positions_ac: Floats, axes: Floats, triangle: Floats) -> tuple[Floats, Integers]:
    """Return coordinates in the brick, one row per axis, and the shifts that led there."""
    n_atoms = len(positions_ac)
    wrapped_ca = np.empty((3, n_atoms))
    shifts_ac = np.empty((n_atoms, 3), dtype=np.int64)
    for a in range(n_atoms):
        for c in range(3):
            wrapped_ca[c, a] = (
                positions_ac[a, 0] * axes[c, 0]
                + positions_ac[a, 1] * axes[c, 1]
                + positions_ac[a, 2] * axes[c, 2]
            )
        for c in range(3):
            shift = -math.floor(wrapped_ca[c, a] / triangle[c, c] + ORIGIN)
            shifts_ac[a, c] = shift
            for d in range(c, 3):
                wrapped_ca[d, a] += shift * triangle[c, d]
    return wrapped_ca, shifts_ac


@_jit
def reach(squared: float, low: float, high: float, start: float, step: float) -> tuple[int, int]:
    """Return the first and last s with start + s step within a distance of [low, high]."""
    distance = math.sqrt(squared)
    per_step = 1.0 / step
    first = math.ceil((low - distance - start) * per_step)
    last = math.floor((high + distance - start) * per_step)
    return first, last


@_jit
def outside(x: float, low: float, high: float) -> float:
    """Return the squared distance of x from [low, high]."""
    distance = max(low - x, x - high, 0.0)
    return distance * distance


@_jit
def lay_out(
    wrapped_ca: Floats,
    shifts_ac: Integers,
    order: Integers,
    triangle: Floats,
    limit: float,
    images_cg: Floats,
    origins_gc: Shifts,
) -> int:
    """Write the images within the squared distance `limit` of the box around the atoms.

    `origins_gc` gets the atom of each image, and its shift along the cell vectors. Writes as many
    as fit and returns their number.
    """
    ax, ay, az = triangle[0, 0], triangle[0, 1], triangle[0, 2]
    by, bz, cz = triangle[1, 1], triangle[1, 2], triangle[2, 2]
    xs, ys, zs = wrapped_ca[0], wrapped_ca[1], wrapped_ca[2]
    x_low, x_high = xs.min(), xs.max()
    y_low, y_high = ys.min(), ys.max()
    z_low, z_high = zs.min(), zs.max()
    capacity = images_cg.shape[1]
    n = 0
    for a in range(len(xs)):
        first0, last0 = reach(limit, x_low, x_high, xs[a], ax)
        for s0 in range(first0, last0 + 1):
            x = xs[a] + s0 * ax
            rest_x = limit - outside(x, x_low, x_high)
            if rest_x < 0.0:
                continue
            first1, last1 = reach(rest_x, y_low, y_high, ys[a] + s0 * ay, by)
            for s1 in range(first1, last1 + 1):
                y = ys[a] + s0 * ay + s1 * by
                rest_y = rest_x - outside(y, y_low, y_high)
                if rest_y < 0.0:
                    continue
                start = zs[a] + s0 * az + s1 * bz
                first2, last2 = reach(rest_y, z_low, z_high, start, cz)
                if n + last2 - first2 >= capacity:
                    n += max(0, last2 - first2 + 1)
                    continue
                for s2 in range(first2, last2 + 1):
                    images_cg[0, n] = x
                    images_cg[1, n] = y
                    images_cg[2, n] = start + s2 * cz
                    origins_gc[n, 0] = a
                    origins_gc[n, 1 + order[0]] = shifts_ac[a, 0] + s0
                    origins_gc[n, 1 + order[1]] = shifts_ac[a, 1] + s1
                    origins_gc[n, 1 + order[2]] = shifts_ac[a, 2] + s2
                    n += 1
    return n


@_jit
def sort_into_bins(
    images_cg: Floats, origins_gc: Shifts, n: int, edge: float
) -> tuple[Floats, Shifts, Floats, Floats, Integers, Integers]:
    """Return images and origins sorted by bin, and the grid: origin, edges, shape, bin starts.

    Bins along z follow each other in memory. Edges grow until there are at most as many bins as
    images, so that atoms far apart in a large cell need no more memory than others.
    """
    low_c, extents = np.empty(3), np.empty(3)
    for c in range(3):
        low_c[c] = images_cg[c, :n].min()
        extents[c] = images_cg[c, :n].max() - low_c[c]
    bins = np.maximum(np.ceil(extents / edge), 1.0)
    while bins.prod() > n:
        edge *= 1.3
        bins = np.maximum(np.ceil(extents / edge), 1.0)
    edges = np.full(3, edge)
    shape = bins.astype(np.int64)
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, dtype=np.int64)
    bin_g = np.empty(n, dtype=np.int64)
    for g in range(n):
        number = 0
        for c in range(3):
            place = int((images_cg[c, g] - low_c[c]) / edges[c])
            number = number * shape[c] + min(place, shape[c] - 1)
        bin_g[g] = number
        starts[number + 1] += 1
    for number in range(len(starts) - 1):
        starts[number + 1] += starts[number]
    cursor = starts[:-1].copy()
    sorted_cg = np.empty((3, n))
    sorted_gc = np.empty((n, 4), dtype=np.int32)
    for g in range(n):
        place = cursor[bin_g[g]]
        cursor[bin_g[g]] += 1
        for c in range(3):
            sorted_cg[c, place] = images_cg[c, g]
        for c in range(4):
            sorted_gc[place, c] = origins_gc[g, c]
    return sorted_cg, sorted_gc, low_c, edges, shape, starts


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


def allocate(n_pairs: int) -> tuple[Integers, Integers, Shifts]:
    """Return uninitialized i, j and S in one block of memory.

    NumPy asks the system for large pages for blocks of 4 MiB and more; touching a fresh block of
    usual pages would cost as much as the search. Memory that is not written is never occupied.
    """
    block = np.empty(max(28 * n_pairs, 1 << 22), dtype=np.uint8)
    i = block[: 8 * n_pairs].view(np.int64)
    j = block[8 * n_pairs : 16 * n_pairs].view(np.int64)
    shifts = block[16 * n_pairs : 28 * n_pairs].view(np.int32).reshape(n_pairs, 3)
    return i, j, shifts


def search_batch(
    positions: Floats, cells: Floats, offsets: Integers, cutoffs: Floats, half: bool
) -> tuple[Integers, Integers, Shifts, Integers]:
    """Return i, j, S and the first pair of every atom for a batch of crystals."""
    n_atoms = len(positions)
    # Averaged over the places of two atoms, a sphere holds V_sphere / V images of the other.
    spheres = 4.0 / 3.0 * np.pi * cutoffs**3 / lattice.volume(cells)
    expected = float(np.sum(np.diff(offsets) ** 2 * spheres)) / (2 if half else 1)
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
