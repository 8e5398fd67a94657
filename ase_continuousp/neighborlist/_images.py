"""The images of a crystal that a search can meet, laid out in space.

Each crystal is turned into a frame in which its cell is triangular, so that a brick of the same
volume, with edges along x, y, z, repeats in its place; atoms are wrapped into that brick, however
skewed the cell is. From the list of images on, nothing is periodic.

Numba takes some milliseconds to compile each operation written here, and a loop costs as much as
five: the code is short for that reason, and writes to arrays of the caller. It also keeps compiled
callers of these functions on disk and does not notice changes made here: after an edit, remove the
``__pycache__`` of this folder.

Array names carry their axes: a atom, g image ("ghost"), c axis or cell vector, x Cartesian, r row.

`frame_rx` holds, row by row, the triangular cell (0 to 2: the longest vector (ax, ay, az), then
(0, by, bz), then the shortest (0, 0, cz), all of ax, by, cz > 0), the axes of the frame (3 to 5),
the lowest and the highest coordinates of the atoms (6 and 7), and a translation (8). `order` holds
the cell vectors from the longest to the shortest (0 to 2) and a shift along each of them (3 to 5).
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

# Flatter cells are not described by numbers of 16 digits, and would have images without end.
FLAT = 1e-12

# For what kernels call: without the entrance for Python, which takes as long to compile.
inner = numba.njit(
    cache=True, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@inner
def dot(one_rx: Floats, r: int, other_rx: Floats, s: int) -> float:
    """Return the product of row r of one array and row s of another."""
    part: float = one_rx[r, 0] * other_rx[s, 0] + one_rx[r, 1] * other_rx[s, 1]
    product: float = part + one_rx[r, 2] * other_rx[s, 2]
    return product


@inner
def turn(cells_rx: Floats, row: int, order: Integers, frame_rx: Floats) -> bool:
    """Write order and frame of the cell that begins in a row; tell whether it has a volume."""
    size0 = dot(cells_rx, row, cells_rx, row)
    size1 = dot(cells_rx, row + 1, cells_rx, row + 1)
    size2 = dot(cells_rx, row + 2, cells_rx, row + 2)
    order[(size1 > size0) + (size2 > size0)] = 0
    order[(size0 >= size1) + (size2 > size1)] = 1
    order[(size0 >= size2) + (size1 >= size2)] = 2
    for c in range(2, -1, -1):
        for x in range(3):
            frame_rx[c, x] = 0.0
            frame_rx[3 + c, x] = cells_rx[row + order[c], x]
        for _ in range(2):  # the second pass removes what rounding left in flat cells
            for d in range(2, c, -1):
                part = dot(frame_rx, 3 + c, frame_rx, 3 + d)
                frame_rx[c, d] += part
                for x in range(3):
                    frame_rx[3 + c, x] -= part * frame_rx[3 + d, x]
        edge = math.sqrt(dot(frame_rx, 3 + c, frame_rx, 3 + c))
        frame_rx[c, c] = edge
        for x in range(3):
            frame_rx[3 + c, x] /= edge
        frame_rx[6, c], frame_rx[7, c] = math.inf, -math.inf
    volume = frame_rx[0, 0] * frame_rx[1, 1] * frame_rx[2, 2]
    # Written so that infinite and undefined cells have none either.
    is_solid: bool = FLAT * math.sqrt(size0 * size1 * size2) < volume < math.inf
    return is_solid


@inner
def wrap(
    positions_ax: Floats,
    begin: int,
    end: int,
    order: Integers,
    frame_rx: Floats,
    atoms_xa: Floats,
    wraps_ac: Shifts,
) -> bool:
    """Write coordinates in the brick and the shifts that led there; tell whether all are finite."""
    for i in range(begin, end):
        a = i - begin
        for c in range(3):
            u = dot(positions_ax, i, frame_rx, 3 + c)
            for d in range(c):
                u += wraps_ac[a, order[d]] * frame_rx[d, c]
            if not abs(u) < math.inf:
                return False
            shift = -math.floor(u / frame_rx[c, c] + ORIGIN)
            u += shift * frame_rx[c, c]
            wraps_ac[a, order[c]] = shift
            atoms_xa[c, a] = u
            frame_rx[6, c] = min(frame_rx[6, c], u)
            frame_rx[7, c] = max(frame_rx[7, c], u)
    return True


@inner
def reach(frame_rx: Floats, c: int, radius: float, start: float) -> tuple[int, int]:
    """Return the range of s for which boxes shifted by start + s step come within the radius."""
    width = radius + frame_rx[7, c] - frame_rx[6, c]
    step = frame_rx[c, c]
    return math.ceil((-width - start) / step), math.floor((width - start) / step) + 1


@inner
def lay_out(
    n_atoms: int,
    limit: float,
    order: Integers,
    frame_rx: Floats,
    atoms_xa: Floats,
    wraps_ac: Shifts,
    images_xg: Floats,
    origins_gc: Shifts,
) -> int:
    """Write the images within the squared distance `limit` of the box around the atoms.

    `origins_gc` gets the shift of each image along the cell vectors, and its atom. Returns the
    number of images, or -1 if there is not enough room for them.
    """
    radius = math.sqrt(limit)
    n = 0
    axis = np.int64(0)  # a plain 0, 1 and 2 would be compiled thrice
    first0, stop0 = reach(frame_rx, axis, radius, 0.0)
    for s0 in range(first0, stop0):
        order[3 + order[0]] = s0
        x, y0, z0 = s0 * frame_rx[0, 0], s0 * frame_rx[0, 1], s0 * frame_rx[0, 2]
        first1, stop1 = reach(frame_rx, axis + 1, radius, y0)
        for s1 in range(first1, stop1):
            order[3 + order[1]] = s1
            y, z1 = y0 + s1 * frame_rx[1, 1], z0 + s1 * frame_rx[1, 2]
            first2, stop2 = reach(frame_rx, axis + 2, radius, z1)
            for s2 in range(first2, stop2):
                if n + n_atoms > images_xg.shape[1]:
                    return -1
                order[3 + order[2]] = s2
                frame_rx[8, 0], frame_rx[8, 1] = x, y
                frame_rx[8, 2] = z1 + s2 * frame_rx[2, 2]
                for a in range(n_atoms):
                    rest = limit
                    for c in range(3):
                        u = atoms_xa[c, a] + frame_rx[8, c]
                        images_xg[c, n] = u
                        outside = max(frame_rx[6, c] - u, u - frame_rx[7, c], 0.0)
                        rest -= outside * outside
                    if rest > 0.0:
                        for c in range(3):
                            origins_gc[n, c] = wraps_ac[a, c] + order[3 + c]
                        origins_gc[n, 3] = a
                        n += 1
    return n
