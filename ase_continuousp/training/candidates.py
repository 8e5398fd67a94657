"""Prototypes of known compositions, right ones and wrong ones, to learn a judge from."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.fingerprint import fingerprints
from ase_continuousp.starts.prototype import PrototypeStart

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Relative distance of fingerprints below which a candidate counts as the right one. pymatgen's
#: StructureMatcher matches 58 % of pairs at a distance of 0.2, 35 % at 0.3, and 6 % at 0.7.
RIGHT = 0.25
_N_COMPARED = 24


@dataclass(frozen=True)
class Candidates:
    """Candidates of many compositions.

    Parameters
    ----------
    crystals : Crystals
        Of all compositions one after the other.
    first : (n_compositions + 1,) array
        Where the candidates of each composition begin.
    distances : (n_candidates,) array
        -log of the probability that the library gives each.
    is_right : (n_candidates,) array of bool
    """

    crystals: Crystals
    first: Integers
    distances: Floats
    is_right: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of compositions."""
        return len(self.first) - 1

    def select(self, rows: Integers) -> Candidates:
        """Return the candidates of some compositions."""
        places = np.concatenate([np.arange(self.first[r], self.first[r + 1]) for r in rows])
        first = np.concatenate([[0], np.cumsum(np.diff(self.first)[rows])])
        return Candidates(
            self.crystals.select(places), first, self.distances[places], self.is_right[places]
        )

    def digest(self) -> str:
        """Return a hash of what tells one set of candidates from another."""
        arrays = (self.crystals.positions, self.first, self.distances, self.is_right)
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one file, by a rename."""
        target = Path(path)
        temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp.npz")
        c = self.crystals
        np.savez(
            temporary, positions=c.positions, cells=c.cells, numbers=c.numbers, offsets=c.offsets,
            first=self.first, distances=self.distances, is_right=self.is_right,
        )  # fmt: skip
        os.replace(temporary, target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Candidates:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            names = ("positions", "cells", "numbers", "offsets")
            crystals = Crystals(**{name: stored[name] for name in names})
            return cls(crystals, stored["first"], stored["distances"], stored["is_right"])


def candidates_of(
    crystals: Crystals,
    start: PrototypeStart,
    *,
    n: int,
    unseen: bool,
    progress: bool = False,
) -> Candidates:
    """Return the first n prototypes of the composition of each crystal, and which are right.

    Parameters
    ----------
    crystals : Crystals
        Those of which the library knows no prototype are left out.
    start : PrototypeStart
    n : int
    unseen : bool
        Leave crystals of the composition itself out of the library, as if it were not known.
    progress : bool

    Raises
    ------
    ValueError
        If no crystal has a prototype.
    """
    parts, counts, distances, right = [], [], [], []
    for truth in tqdm(crystals, total=len(crystals), disable=not progress, desc="candidates"):
        made = start.generate_like(truth.numbers, n, unseen=unseen, n_compared=_N_COMPARED)
        if not made:
            continue
        both = Crystals.concatenate([truth, *(one.crystals for one in made)])
        elements, labels = np.unique(both.numbers, return_inverse=True)
        prints = fingerprints(both, labels, len(elements)).reshape(len(both), -1)
        squares = np.sum((prints[1:] - prints[0]) ** 2, axis=1)
        norms = np.sum(prints**2, axis=1)
        right.append(squares < RIGHT**2 * np.sqrt(norms[0] * norms[1:]))
        parts += [one.crystals for one in made]
        counts.append(len(made))
        distances += [one.distance for one in made]
    if not parts:
        raise ValueError("crystals must have prototypes in the library: none has")
    return Candidates(
        Crystals.concatenate(parts),
        np.concatenate([[0], np.cumsum(counts)]),
        np.array(distances, dtype=np.float64),
        np.concatenate(right),
    )
