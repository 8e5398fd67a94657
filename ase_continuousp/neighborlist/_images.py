"""The images of a crystal that a search can meet, laid out in space and sorted into bins.

Each crystal is turned into a frame in which its cell is triangular, so that a brick of the same
volume, with edges along x, y, z, repeats in its place; atoms are wrapped into that brick, however
skewed the cell is. From the list of images on, nothing is periodic.

Numba keeps compiled callers of these functions on disk and does not notice changes made here:
after an edit, remove the ``__pycache__`` of this folder.

Suffixes: a atom, g image ("ghost"), c Cartesian or cell vector.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]

# Atoms are wrapped into [-ORIGIN, 1 - ORIGIN) of the brick: many crystals have atoms on the faces
# of the cell, which rounding would otherwise scatter to both sides.
ORIGIN = 0.1

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
