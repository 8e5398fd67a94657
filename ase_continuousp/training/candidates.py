"""Candidates for known compositions, right ones and wrong ones, to learn a judge from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.io.replacing import replacing
from ase_continuousp.starts.fingerprint import fingerprints
from ase_continuousp.starts.prototype import PrototypeStart

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Relative distance of fingerprints below which a candidate counts as the right one. pymatgen's
#: StructureMatcher, at the tolerances of the benchmarks, calls 96 % of pairs equal below 0.05, 67 %
#: at 0.2 to 0.25, 27 % at 0.4 to 0.5 and 6 % above 0.7 (550 crystals of mp_20/val).
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
        -log of the probability that the library gives each; nan for what a model generated.
    is_right : (n_candidates,) array of bool
    """

    crystals: Crystals
    first: Integers
    distances: Floats
    is_right: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of compositions."""
        return len(self.first) - 1

    @property
    def is_generated(self) -> NDArray[np.bool_]:
        """Which candidates a model generated, (n_candidates,)."""
        return np.isnan(self.distances)

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        """Return the candidates of the compositions of all parts in turn."""
        counts = np.concatenate([np.diff(part.first) for part in parts])
        return cls(
            Crystals.concatenate([part.crystals for part in parts]),
            np.concatenate([[0], np.cumsum(counts)]),
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.is_right for part in parts]),
        )

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
        c = self.crystals
        # A stream: to a path numpy adds the ending .npz.
        with replacing(path) as draft, draft.open("wb") as stream:
            np.savez(
                stream, positions=c.positions, cells=c.cells, numbers=c.numbers, offsets=c.offsets,
                first=self.first, distances=self.distances, is_right=self.is_right,
            )  # fmt: skip

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
    generated: Sequence[Sequence[Crystals]] | None = None,
    progress: bool = False,
) -> Candidates:
    """Return the first n prototypes of the composition of each crystal, and which are right.

    Parameters
    ----------
    crystals : Crystals
        Those without any candidate are left out.
    start : PrototypeStart
    n : int
    unseen : bool
        Leave crystals of the composition itself out of the library, as if it were not known.
    generated : sequence of sequences of Crystals, optional
        What a model generated for the composition of each crystal: candidates as well.
    progress : bool

    Raises
    ------
    ValueError
        If no crystal has a candidate.
    """
    parts, counts, distances, right = [], [], [], []
    for index, truth in enumerate(
        tqdm(crystals, total=len(crystals), disable=not progress, desc="candidates")
    ):
        made = start.generate_like(truth.numbers, n, unseen=unseen, n_compared=_N_COMPARED)
        some = [one.crystals for one in made]
        if generated is not None:
            some += generated[index]
        if not some:
            continue
        parts += some
        counts.append(len(some))
        distances += [one.distance for one in made] + [np.nan] * (len(some) - len(made))
        right.append(_is_right(truth, some))
    if not parts:
        raise ValueError("crystals must have prototypes in the library: none has")
    return Candidates(
        Crystals.concatenate(parts),
        np.concatenate([[0], np.cumsum(counts)]),
        np.array(distances, dtype=np.float64),
        np.concatenate(right),
    )


def _is_right(truth: Crystals, some: Sequence[Crystals]) -> NDArray[np.bool_]:
    both = Crystals.concatenate([truth, *some])
    elements, labels = np.unique(both.numbers, return_inverse=True)
    prints = fingerprints(both, labels, len(elements)).reshape(len(both), -1)
    squares = np.sum((prints[1:] - prints[0]) ** 2, axis=1)
    norms = np.sum(prints**2, axis=1)
    near: NDArray[np.bool_] = squares < RIGHT**2 * np.sqrt(norms[0] * norms[1:])
    return near
