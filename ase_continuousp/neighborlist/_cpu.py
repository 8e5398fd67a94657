"""Compiled search for batches of small crystals: count, prefix sum, fill.

Every crystal is seen in a frame in which its cell is triangular, with the shortest vector along z
and innermost. For a pair of atoms the images then form lines along z, and the part of a line
inside the sphere is an interval known in closed form: no image outside the sphere is looked at.
Only the ends of a line can be so close to the sphere that rounding decides; there the distance is
taken from the Cartesian positions exactly as in ASE.

Each unordered pair is found once, as (i, j, S) with i <= j, and mirrored to (j, i, -S) for the
full list. Suffixes: a atom, b crystal, p pair, c Cartesian or cell vector.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]

# Squared distances within this relative margin of the squared cutoff are decided exactly; far
# above rounding errors of the frame, far below what would make exact tests frequent.
MARGIN = 1e-9

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def frames(positions_ac: Floats, cells: Floats, offsets: Integers) -> tuple:
    """Return rotated positions, triangular cells and the order of the cell vectors.

    The triangular cell of crystal b holds (ax, ay, az, by, bz, cz): rows (ax, ay, az),
    (0, by, bz), (0, 0, cz) for its longest, middle and shortest vector.
    """
    n_crystals = len(cells)
    rotated_ca = np.empty((3, len(positions_ac)))
    triangles = np.empty((n_crystals, 6))
    orders = np.empty((n_crystals, 3), dtype=np.int64)
    for b in range(n_crystals):
        cell = cells[b]
        l0 = cell[0, 0] ** 2 + cell[0, 1] ** 2 + cell[0, 2] ** 2
        l1 = cell[1, 0] ** 2 + cell[1, 1] ** 2 + cell[1, 2] ** 2
        l2 = cell[2, 0] ** 2 + cell[2, 1] ** 2 + cell[2, 2] ** 2
        first, second, third = 0, 1, 2
        if l0 < l1:
            first, second = second, first
            l0, l1 = l1, l0
        if l1 < l2:
            second, third = third, second
            l1, l2 = l2, l1
        if l0 < l1:
            first, second = second, first
        orders[b, 0] = first
        orders[b, 1] = second
        orders[b, 2] = third
        ax, ay, az = cell[first, 0], cell[first, 1], cell[first, 2]
        bx, by, bz = cell[second, 0], cell[second, 1], cell[second, 2]
        cx, cy, cz = cell[third, 0], cell[third, 1], cell[third, 2]
        length = math.sqrt(cx * cx + cy * cy + cz * cz)
        ezx, ezy, ezz = cx / length, cy / length, cz / length
        along = bx * ezx + by * ezy + bz * ezz
        ux, uy, uz = bx - along * ezx, by - along * ezy, bz - along * ezz
        across = math.sqrt(ux * ux + uy * uy + uz * uz)
        eyx, eyy, eyz = ux / across, uy / across, uz / across
        exx = eyy * ezz - eyz * ezy
        exy = eyz * ezx - eyx * ezz
        exz = eyx * ezy - eyy * ezx
        height = ax * exx + ay * exy + az * exz
        if height < 0.0:  # the frame may be a reflection: only distances matter
            height, exx, exy, exz = -height, -exx, -exy, -exz
        triangles[b, 0] = height
        triangles[b, 1] = ax * eyx + ay * eyy + az * eyz
        triangles[b, 2] = ax * ezx + ay * ezy + az * ezz
        triangles[b, 3] = across
        triangles[b, 4] = along
        triangles[b, 5] = length
        for a in range(offsets[b], offsets[b + 1]):
            x, y, z = positions_ac[a, 0], positions_ac[a, 1], positions_ac[a, 2]
            rotated_ca[0, a] = x * exx + y * exy + z * exz
            rotated_ca[1, a] = x * eyx + y * eyy + z * eyz
            rotated_ca[2, a] = x * ezx + y * ezy + z * ezz
    return rotated_ca, triangles, orders


@_jit
def is_inside(
    positions_ac: Floats, cell: Floats, i: int, j: int, shift: tuple, cutoff: float
) -> bool:
    """Tell whether |r_j - r_i + S L| < cutoff, in the order of operations of ASE."""
    total = 0.0
    for c in range(3):
        image = shift[0] * cell[0, c] + shift[1] * cell[1, c] + shift[2] * cell[2, c]
        component = (positions_ac[j, c] - positions_ac[i, c]) + image
        total += component * component
    return math.sqrt(total) < cutoff


@_jit
def in_cell_order(order: Integers, s0: int, s1: int, s2: int) -> tuple:
    """Return the shift (s0, s1, s2) along longest, middle and shortest vector as (S1, S2, S3)."""
    shift = (s0, s1, s2)
    first = shift[0] if order[0] == 0 else (shift[1] if order[1] == 0 else shift[2])
    second = shift[0] if order[0] == 1 else (shift[1] if order[1] == 1 else shift[2])
    third = shift[0] if order[0] == 2 else (shift[1] if order[1] == 2 else shift[2])
    return first, second, third


@_jit
def line(
    positions_ac: Floats,
    cell: Floats,
    order: Integers,
    i: int,
    j: int,
    s0: int,
    s1: int,
    z: float,
    length: float,
    rest: float,
    cutoff: float,
) -> tuple:
    """Return the first and last image on a line along z that lie inside the sphere.

    `rest` is the squared cutoff with its margin, less the squared distance of the line.
    """
    reach = math.sqrt(rest) / length
    offset = z / length
    low = math.ceil(-reach - offset)
    high = math.floor(reach - offset)
    certain = rest - 2.0 * MARGIN * cutoff * cutoff
    while low <= high and (z + low * length) ** 2 > certain:
        shift = in_cell_order(order, s0, s1, low)
        if is_inside(positions_ac, cell, i, j, shift, cutoff):
            break
        low += 1
    while low <= high and (z + high * length) ** 2 > certain:
        shift = in_cell_order(order, s0, s1, high)
        if is_inside(positions_ac, cell, i, j, shift, cutoff):
            break
        high -= 1
    return low, high


@_jit
def count(
    positions_ac: Floats,
    cells: Floats,
    offsets: Integers,
    cutoffs: Floats,
    half: bool,
    rotated_ca: Floats,
    triangles: Floats,
    orders: Integers,
    counts: Integers,
) -> None:
    """Add the number of pairs of every center to `counts`."""
    for b in range(len(cells)):
        cell, order, cutoff = cells[b], orders[b], cutoffs[b]
        ax, ay, az = triangles[b, 0], triangles[b, 1], triangles[b, 2]
        by, bz, cz = triangles[b, 3], triangles[b, 4], triangles[b, 5]
        limit = cutoff * cutoff * (1.0 + MARGIN)
        widest = math.sqrt(limit)
        for i in range(offsets[b], offsets[b + 1]):
            for j in range(i, offsets[b + 1]):
                dx = rotated_ca[0, j] - rotated_ca[0, i]
                dy = rotated_ca[1, j] - rotated_ca[1, i]
                dz = rotated_ca[2, j] - rotated_ca[2, i]
                n = 0
                start0 = 0 if i == j else math.ceil((-widest - dx) / ax)
                for s0 in range(start0, math.floor((widest - dx) / ax) + 1):
                    x = dx + s0 * ax
                    rest_x = limit - x * x
                    if rest_x < 0.0:
                        continue
                    y0 = dy + s0 * ay
                    width = math.sqrt(rest_x)
                    start1 = 0 if i == j and s0 == 0 else math.ceil((-width - y0) / by)
                    for s1 in range(start1, math.floor((width - y0) / by) + 1):
                        y = y0 + s1 * by
                        rest = rest_x - y * y
                        if rest < 0.0:
                            continue
                        z = dz + s0 * az + s1 * bz
                        low, high = line(
                            positions_ac, cell, order, i, j, s0, s1, z, cz, rest, cutoff
                        )
                        if i == j and s0 == 0 and s1 == 0:
                            low = 1
                        if high >= low:
                            n += high - low + 1
                counts[i] += n
                if not half:
                    counts[j] += n


@_jit
def make_positive(shifts_pc: Shifts, p: int) -> None:
    """Turn the shift of pair p so that its first nonzero component is positive."""
    for c in range(3):
        if shifts_pc[p, c] != 0:
            if shifts_pc[p, c] < 0:
                for d in range(3):
                    shifts_pc[p, d] = -shifts_pc[p, d]
            return


@_jit
def fill(
    positions_ac: Floats,
    cells: Floats,
    offsets: Integers,
    cutoffs: Floats,
    half: bool,
    rotated_ca: Floats,
    triangles: Floats,
    orders: Integers,
    first: Integers,
    i_p: Integers,
    j_p: Integers,
    shifts_pc: Shifts,
) -> None:
    """Write the pairs of every center a from index ``first[a]`` on."""
    cursor = first.copy()
    for b in range(len(cells)):
        cell, order, cutoff = cells[b], orders[b], cutoffs[b]
        c0, c1, c2 = order[0], order[1], order[2]
        ax, ay, az = triangles[b, 0], triangles[b, 1], triangles[b, 2]
        by, bz, cz = triangles[b, 3], triangles[b, 4], triangles[b, 5]
        limit = cutoff * cutoff * (1.0 + MARGIN)
        widest = math.sqrt(limit)
        for i in range(offsets[b], offsets[b + 1]):
            for j in range(i, offsets[b + 1]):
                dx = rotated_ca[0, j] - rotated_ca[0, i]
                dy = rotated_ca[1, j] - rotated_ca[1, i]
                dz = rotated_ca[2, j] - rotated_ca[2, i]
                start0 = 0 if i == j else math.ceil((-widest - dx) / ax)
                for s0 in range(start0, math.floor((widest - dx) / ax) + 1):
                    x = dx + s0 * ax
                    rest_x = limit - x * x
                    if rest_x < 0.0:
                        continue
                    y0 = dy + s0 * ay
                    width = math.sqrt(rest_x)
                    start1 = 0 if i == j and s0 == 0 else math.ceil((-width - y0) / by)
                    for s1 in range(start1, math.floor((width - y0) / by) + 1):
                        y = y0 + s1 * by
                        rest = rest_x - y * y
                        if rest < 0.0:
                            continue
                        z = dz + s0 * az + s1 * bz
                        low, high = line(
                            positions_ac, cell, order, i, j, s0, s1, z, cz, rest, cutoff
                        )
                        if i == j and s0 == 0 and s1 == 0:
                            low = 1
                        for s2 in range(low, high + 1):
                            p = cursor[i]
                            cursor[i] += 1
                            i_p[p] = i
                            j_p[p] = j
                            shifts_pc[p, c0] = s0
                            shifts_pc[p, c1] = s1
                            shifts_pc[p, c2] = s2
                            if half:
                                if i == j:
                                    make_positive(shifts_pc, p)
                            else:
                                q = cursor[j]
                                cursor[j] += 1
                                i_p[q] = j
                                j_p[q] = i
                                shifts_pc[q, c0] = -s0
                                shifts_pc[q, c1] = -s1
                                shifts_pc[q, c2] = -s2


def search_batch(
    positions: Floats, cells: Floats, offsets: Integers, cutoffs: Floats, half: bool
) -> tuple[Integers, Integers, Shifts, Integers]:
    """Return i, j, S and the first pair of every atom for a batch of crystals."""
    rotated, triangles, orders = frames(positions, cells, offsets)
    frame = (positions, cells, offsets, cutoffs, half, rotated, triangles, orders)
    first = np.zeros(len(positions) + 1, dtype=np.int64)
    count(*frame, first[1:])
    np.cumsum(first, out=first)
    n_pairs = int(first[-1])
    i = np.empty(n_pairs, dtype=np.int64)
    j = np.empty(n_pairs, dtype=np.int64)
    shifts = np.empty((n_pairs, 3), dtype=np.int32)
    fill(*frame, first, i, j, shifts)
    return i, j, shifts, first
