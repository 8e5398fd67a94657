"""Crystals beside the truth and the way back: prototypes of known compositions, ends of chains."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.io.replacing import replacing
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.starts.alignment import aligned
from ase_continuousp.starts.prototype import PrototypeStart

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Root mean square displacement in units of ℓ beyond which a crystal is another one.
FARTHEST = 0.6
_N_COMPARED = 48


@dataclass(frozen=True)
class Displaced:
    """Crystals and the way from each to the known crystal that it means.

    Parameters
    ----------
    crystals : Crystals
    displacements : (n_atoms, 3) array [Å]
        To the known crystal, in the cell of the other; without mean displacement.
    groups : (n_crystals,) array of int
        The known crystal of each.
    """

    crystals: Crystals
    displacements: Floats
    groups: Integers

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.crystals)

    @property
    def rms(self) -> Floats:
        """Root mean square displacement of each crystal in units of ℓ, (n_crystals,)."""
        return root_mean_squares(self.crystals, self.displacements) / self.crystals.lengths

    @classmethod
    def concatenate(cls, parts: Sequence[Displaced]) -> Displaced:
        """Return the crystals of all parts in turn; their groups are numbered alike."""
        return cls(
            Crystals.concatenate([part.crystals for part in parts]),
            np.concatenate([part.displacements for part in parts]),
            np.concatenate([part.groups for part in parts]),
        )

    def select(self, places: Integers) -> Displaced:
        """Return some of the crystals."""
        offsets = self.crystals.offsets
        atoms = np.concatenate([np.arange(offsets[p], offsets[p + 1]) for p in places])
        return Displaced(
            self.crystals.select(places), self.displacements[atoms], self.groups[places]
        )

    def digest(self) -> str:
        """Return a hash of what tells one set of pairs from another."""
        digest = hashlib.sha256()
        for array in (self.crystals.positions, self.displacements, self.groups):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one file, by a rename."""
        c = self.crystals
        # A stream: to a path numpy adds the ending .npz.
        with replacing(path) as draft, draft.open("wb") as stream:
            np.savez(
                stream, positions=c.positions, cells=c.cells, numbers=c.numbers, offsets=c.offsets,
                displacements=self.displacements, groups=self.groups,
            )  # fmt: skip

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Displaced:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            names = ("positions", "cells", "numbers", "offsets")
            crystals = Crystals(**{name: stored[name] for name in names})
            return cls(crystals, stored["displacements"], stored["groups"])


def root_mean_squares(crystals: Crystals, vectors: Floats) -> Floats:
    """Return the root mean square of the vectors of each crystal's atoms, (n_crystals,)."""
    squares = np.add.reduceat(np.einsum("ax,ax->a", vectors, vectors), crystals.offsets[:-1])
    made: Floats = np.sqrt(squares / crystals.counts)
    return made


def way_to(found: Crystals, truths: Iterable[Crystals]) -> tuple[Crystals, Floats] | None:
    """Return a crystal, its atoms sorted by element, and the way to the nearest of others.

    Parameters
    ----------
    found : Crystals
        A batch of one, with a Niggli-reduced cell.
    truths : iterable of Crystals
        Of the same atoms, with reduced cells.

    Returns
    -------
    tuple or None
        Crystal and displacements [Å]; None if all are farther than `FARTHEST`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salt = reduce_crystals(io.from_atoms(bulk("NaCl", "rocksalt", a=5.6)))
    >>> way = way_to(salt, [salt])
    >>> way is not None and bool(abs(way[1]).max() < 1e-9)
    True
    """
    numbers, sites = _by_element(found)
    counts = np.unique(numbers, return_counts=True)[1]
    nearest, best = FARTHEST, None
    for truth in truths:
        others, places = _by_element(truth)
        if not np.array_equal(numbers, others):
            continue
        made = aligned(found.cells[0], sites, truth.cells[0], places, counts)
        if made is not None and made[2] < nearest:
            nearest, best = made[2], made[1]
    if best is None:
        return None
    cell = found.cells[0]
    return Crystals.single(sites @ cell, cell, numbers), (best - sites) @ cell


def displaced_prototypes(
    crystals: Crystals, rows: Integers, start: PrototypeStart, n: int
) -> Displaced | None:
    """Return the first n prototypes of known compositions, as if these were not known.

    Parameters
    ----------
    crystals : Crystals
        With reduced cells.
    rows : array of int
        Whose compositions.
    start : PrototypeStart
    n : int

    Returns
    -------
    Displaced or None
        Those that are near the known crystal; None if none is.
    """
    pairs = []
    for row in rows.tolist():
        truth = crystals.select([row])
        made = start.generate_like(truth.numbers, n, unseen=True, n_compared=_N_COMPARED)
        pairs += [(row, one.crystals, [truth]) for one in made]
    return _displaced(pairs)


def displaced_ends(
    crystals: Crystals, rows: Integers, ends: Sequence[Sequence[Crystals]]
) -> Displaced | None:
    """Return ends of chains that are near a known crystal of their composition.

    Parameters
    ----------
    crystals : Crystals
        All that are known, with reduced cells.
    rows : array of int
        Whose compositions.
    ends : sequence of sequences of Crystals
        For each of these.
    """
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index in range(len(crystals)):
        first, last = crystals.offsets[index : index + 2]
        alike[np.sort(crystals.numbers[first:last]).tobytes()].append(index)
    pairs = []
    for row, some in zip(rows.tolist(), ends, strict=True):
        key = np.sort(crystals.select([row]).numbers).tobytes()
        truths = [crystals.select([index]) for index in alike[key]]
        pairs += [(row, one, truths) for one in some]
    return _displaced(pairs)


def _displaced(pairs: Sequence[tuple[int, Crystals, list[Crystals]]]) -> Displaced | None:
    found, ways, groups = [], [], []
    for row, one, truths in pairs:
        way = way_to(reduce_crystals(one), truths)
        if way is not None:
            found.append(way[0])
            ways.append(way[1])
            groups.append(row)
    if not found:
        return None
    return Displaced(Crystals.concatenate(found), np.concatenate(ways), np.array(groups))


def _by_element(crystal: Crystals) -> tuple[Integers, Floats]:
    order = np.argsort(crystal.numbers, kind="stable")
    return crystal.numbers[order], crystal.fractional[order]
