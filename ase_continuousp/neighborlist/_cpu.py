"""Compiled search over a batch of crystals: images laid out once, then plain distances.

All images within the cutoff of the box around the atoms of a crystal are written down once
(`_images`). From each center, distances to all of them are taken, without branches (`_pairs`); if
there are so many that bins pay, only to those in bins nearby (`_bins`). The cost is linear in the
atoms.

The kernels allocate nothing. What they write to is made here; they stop when it is too small and
are called again, from the center that they reached, with more. Results of a few thousand pairs are
written to memory that is kept and copied from there: a search among few atoms takes as long as
five calls of NumPy.
"""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

from ase_continuousp import lattice
from ase_continuousp.neighborlist._bins import Grid
from ase_continuousp.neighborlist._check import check
from ase_continuousp.neighborlist._pairs import (
    BINS,
    DONE,
    MORE_IMAGES,
    MORE_PAIRS,
    REFUSED,
    Room,
    fill,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]

# What each thread keeps: a quarter of a megabyte and half a one.
KEPT_PAIRS = 8192
KEPT_IMAGES = 8192


def allocate(n_pairs: int) -> tuple[Integers, Shifts]:
    """Return uninitialized (i, j) and S in one block of memory.

    NumPy asks the system for large pages for blocks of 4 MiB and more; touching a fresh block of
    usual pages would cost as much as the search. Memory that is not written is never occupied.
    """
    n_bytes = 28 * n_pairs
    block = np.empty(n_bytes if n_bytes < 1 << 19 else max(n_bytes, 1 << 22), dtype=np.uint8)
    pairs = block[: 16 * n_pairs].view(np.int64).reshape(2, n_pairs)
    shifts = block[16 * n_pairs : n_bytes].view(np.int32).reshape(n_pairs, 3)
    return pairs, shifts


class _Kept(threading.local):
    def __init__(self) -> None:
        self.room = Room(KEPT_IMAGES)
        self.found = allocate(KEPT_PAIRS)


_kept = _Kept()


def enlarged(
    pairs: Integers, shifts: Shifts, n_pairs: int, cells: Floats, offsets: Integers, cutoffs: Floats
) -> tuple[Integers, Shifts]:
    """Return more room for pairs that begins with the first `n_pairs`.

    If the atoms of each crystal were anywhere in it, a sphere would hold V_sphere / V images of
    each of them; where they are not, twice the room has to do.
    """
    spheres = 4.0 / 3.0 * math.pi * cutoffs**3
    expected = np.sum(np.diff(offsets).astype(float) ** 2 * spheres / lattice.volume(cells))
    larger = allocate(max(int(1.1 * expected) + 64, 2 * len(shifts)))
    larger[0][:, :n_pairs] = pairs[:, :n_pairs]
    larger[1][:n_pairs] = shifts[:n_pairs]
    return larger


def search_batch(
    positions: Floats, cells: Floats, offsets: Integers, cutoffs: Floats, half: bool
) -> tuple[Integers, Integers, Shifts, Integers]:
    """Return i, j, S and the first pair of every atom for a batch of crystals."""
    room, (pairs, shifts) = _kept.room, _kept.found
    rows = cells.reshape(-1, 3)
    first = np.empty(len(positions) + 1, dtype=np.int64)
    first[0] = reached = 0
    why = None
    while why != DONE:
        why, reached, n_images = fill(
            positions, rows, offsets, cutoffs, half, reached, first, pairs, shifts, *room.arrays
        )
        if why == BINS:
            b = int(np.searchsorted(offsets, reached, side="right")) - 1
            end = offsets[b + 1]
            grid = Grid(room, n_images, cutoffs[b])
            crystal = (positions, rows, 3 * b, cutoffs[b], half, offsets[b], end)
            while (reached := grid.fill(*crystal, reached, first, pairs, shifts)) < end:
                pairs, shifts = enlarged(pairs, shifts, first[reached], cells, offsets, cutoffs)
        elif why == MORE_PAIRS:
            pairs, shifts = enlarged(pairs, shifts, first[reached], cells, offsets, cutoffs)
        elif why == MORE_IMAGES:
            room = Room(2 * max(room.n_images, 2 * int(np.diff(offsets).max())))
        elif why == REFUSED:
            check(positions, cells, cutoffs)
            raise ValueError("positions, cells and cutoffs must be finite, and cells have a volume")
    n_pairs = first[-1]
    i, j, found = pairs[0, :n_pairs], pairs[1, :n_pairs], shifts[:n_pairs]
    if pairs is _kept.found[0]:
        return i.copy(), j.copy(), found.copy(), first
    return i, j, found, first
