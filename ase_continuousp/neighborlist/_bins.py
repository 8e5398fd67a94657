"""The search in one crystal of many images, which are sorted into bins first.

Bins along z follow each other in memory: the images of a column that a sphere meets are one run.
Not compiled before such a crystal comes. Notes and names as in `_images` and `_pairs`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ase_continuousp.neighborlist._images import Floats, Integers, Shifts, inner
from ase_continuousp.neighborlist._pairs import MARGIN, Room, outer, pick, write

# Bins per cutoff.
FINE = 1.0


@outer
def sort_into_bins(
    n: int,
    cutoff: float,
    frame_rx: Floats,
    images_xg: Floats,
    origins_gc: Shifts,
    shape: Integers,
    bin_g: Shifts,
    sorted_xg: Floats,
    sorted_gc: Shifts,
    starts: Shifts,
) -> float:
    """Write images and origins sorted by bin, the shape of the grid and where each bin starts.

    Returns the edge of the bins. It grows until there are at most as many bins as images, so that
    atoms far apart in a large cell need no more memory than others.
    """
    edge = cutoff / FINE / 1.25
    count = n + 1
    while count > n:
        count = 1
        edge *= 1.25
        for c in range(3):
            extent = frame_rx[7, c] - frame_rx[6, c] + 2.0 * cutoff
            shape[c] = int(extent / edge) + 1
            count *= shape[c]
    for number in range(count + 1):
        starts[number] = 0
    for g in range(n):
        number = 0
        for c in range(3):
            place = int((images_xg[c, g] - frame_rx[6, c] + cutoff) / edge)
            number = number * shape[c] + min(place, shape[c] - 1)
        bin_g[g] = number
        starts[number] += 1
    for number in range(count):
        starts[number + 1] += starts[number]
    for g in range(n - 1, -1, -1):  # ends of bins move down to their starts
        number = bin_g[g]
        place = starts[number] - 1
        starts[number] = place
        for c in range(3):
            sorted_xg[c, place] = images_xg[c, g]
        for c in range(4):
            sorted_gc[place, c] = origins_gc[g, c]
    return edge


@inner
def meet(u: float, radius: float, edge: float, size: int) -> tuple[int, int]:
    """Return the range of bins along an axis that come within the radius of u."""
    first = max(0, math.floor((u - radius) / edge))
    return first, min(size, math.floor((u + radius) / edge) + 1)


@outer
def fill_from_bins(
    positions_ax: Floats,
    cells_rx: Floats,
    row: int,
    cutoff: float,
    half: bool,
    begin: int,
    end: int,
    reached: int,
    first: Integers,
    pairs_cp: Integers,
    shifts_pc: Shifts,
    edge: float,
    shape: Integers,
    starts: Shifts,
    frame_rx: Floats,
    atoms_xa: Floats,
    wraps_ac: Shifts,
    sorted_xg: Floats,
    sorted_gc: Shifts,
    squared_k: Floats,
    found_k: Shifts,
) -> int:
    """Write the pairs from center `reached` to `end`; return the first that did not fit."""
    limit = cutoff * cutoff * (1.0 + MARGIN)
    p = first[reached]
    for i in range(reached, end):
        a = i - begin
        x = atoms_xa[0, a] - frame_rx[6, 0] + cutoff
        y = atoms_xa[1, a] - frame_rx[6, 1] + cutoff
        z = atoms_xa[2, a] - frame_rx[6, 2] + cutoff
        m = 0
        first0, stop0 = meet(x, math.sqrt(limit), edge, shape[0])
        for b0 in range(first0, stop0):
            outside = max(b0 * edge - x, x - (b0 + 1) * edge, 0.0)
            rest = limit - outside * outside
            if rest <= 0.0:
                continue
            first1, stop1 = meet(y, math.sqrt(rest), edge, shape[1])
            for b1 in range(first1, stop1):
                outside = max(b1 * edge - y, y - (b1 + 1) * edge, 0.0)
                left = rest - outside * outside
                if left <= 0.0:
                    continue
                first2, stop2 = meet(z, math.sqrt(left), edge, shape[2])
                column = (b0 * shape[1] + b1) * shape[2]
                if first2 < stop2:
                    m = pick(
                        a, starts[column + first2], starts[column + stop2], m, limit,
                        atoms_xa, sorted_xg, squared_k, found_k,
                    )  # fmt: skip
        if p + m >= pairs_cp.shape[1]:
            return i
        p = write(
            positions_ax, cells_rx, row, cutoff, half, begin, a, wraps_ac, sorted_gc,
            squared_k, found_k, m, p, pairs_cp, shifts_pc,
        )  # fmt: skip
        first[i + 1] = p
    return end


class Grid:
    """The images in `room`, sorted into bins."""

    def __init__(self, room: Room, n_images: int, cutoff: float) -> None:
        self.room = room
        self.shape = np.empty(3, dtype=np.int64)
        self.starts = np.empty(n_images + 1, dtype=np.int32)
        self.images = np.empty((3, n_images))
        self.origins = np.empty((n_images, 4), dtype=np.int32)
        self.edge = sort_into_bins(
            n_images, cutoff, room.frame, room.images, room.origins,
            self.shape, room.found, self.images, self.origins, self.starts,
        )  # fmt: skip

    def fill(self, *search: Any) -> int:
        """Do `fill_from_bins`; `search` are its arguments up to the pairs."""
        room = self.room
        reached: int = fill_from_bins(
            *search, self.edge, self.shape, self.starts, room.frame, room.atoms, room.wraps,
            self.images, self.origins, room.squared, room.found,
        )  # fmt: skip
        return reached
