"""Lists of prototypes for known compositions, to learn from which of a list is right.

The library is taken as it would be without the very crystal (`starts.leaving_out`), if it was made
with it; prototypes are made, judged and compared as in a search, and the answer is that of
pymatgen's StructureMatcher at the tolerances of the literature.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.io.replacing import replacing
from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.judge import JUDGE
from ase_continuousp.search.dedupe import equivalence_classes
from ase_continuousp.search.facts import FACTS, facts
from ase_continuousp.search.jobs import Job, model_key, run_job
from ase_continuousp.search.predict import is_reasonable
from ase_continuousp.search.refine import anneal_settings
from ase_continuousp.search.sources import PRIORS, PROTOTYPES, read_priors
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.leaving_out import members_without
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.prototype import PrototypeStart

Integers = NDArray[np.int64]

_AT_ONCE = 100  # crystals of one file: half a minute of one core


@dataclass(frozen=True)
class RankingLists:
    """Facts of the prototypes of many compositions, and which are right.

    Parameters
    ----------
    facts : (n_prototypes, n_facts) float32 array
        Of all lists one after the other, likeliest by the library first; see
        :data:`ase_continuousp.search.facts.FACTS`.
    is_right : (n_prototypes,) bool array
    first : (n_lists + 1,) array
        Where each list begins.

    Examples
    --------
    >>> len(RankingLists.of([(np.zeros((3, len(FACTS))), [False, True, False])]))
    1
    """

    facts: NDArray[np.float32]
    is_right: NDArray[np.bool_]
    first: Integers

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.first) - 1

    @classmethod
    def of(cls, parts: Sequence[tuple[NDArray[np.float64], Sequence[bool]]]) -> RankingLists:
        """Return lists, each given as the facts of its prototypes and which of them are right."""
        return cls(
            np.concatenate([np.zeros((0, len(FACTS))), *(f for f, _ in parts)]).astype(np.float32),
            np.array([one for _, right in parts for one in right], dtype=bool),
            np.cumsum([0, *(len(right) for _, right in parts)]),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[RankingLists]) -> RankingLists:
        """Return the lists of all parts in turn."""
        counts = np.concatenate([np.diff(part.first) for part in parts])
        return cls(
            np.concatenate([part.facts for part in parts]),
            np.concatenate([part.is_right for part in parts]),
            np.concatenate([[0], np.cumsum(counts)]),
        )

    def padded(self, rows: Integers) -> tuple[NDArray[np.float32], NDArray[np.bool_], Integers]:
        """Return facts and answers of some lists, filled up to equal length, and their lengths."""
        counts = np.diff(self.first)[rows]
        facts = np.zeros((len(rows), counts.max(), self.facts.shape[1]), dtype=np.float32)
        right = np.zeros(facts.shape[:2], dtype=bool)
        for place, row in enumerate(rows):
            own = slice(self.first[row], self.first[row + 1])
            facts[place, : counts[place]] = self.facts[own]
            right[place, : counts[place]] = self.is_right[own]
        return facts, right, counts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one file, by a rename."""
        # A stream: to a path numpy adds the ending .npz.
        with replacing(path) as draft, draft.open("wb") as stream:
            np.savez(stream, facts=self.facts, is_right=self.is_right, first=self.first)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RankingLists:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            return cls(stored["facts"], stored["is_right"], stored["first"])


class ListMaker(Protocol):
    """A function that makes lists, such as :func:`lists_of`; its name tells it from others."""

    __name__: str

    def __call__(self, model: str, crystals: Crystals, n: int) -> RankingLists:
        """Return lists of n prototypes for crystals, by the model in a folder."""
        ...


def lists_of(model: str, crystals: Crystals, n: int) -> RankingLists:
    """Return the lists of the compositions of some crystals, each taken out of the library.

    Parameters
    ----------
    model : str
        Folder of a model with a library and a judge.
    crystals : Crystals
        With which the library was made. Those without prototypes have no list.
    n : int
        Prototypes of each.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io, load_model
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> lists = lists_of(str(load_model("mp20").path), salt, 3)
    >>> len(lists), lists.is_right.tolist()
    (1, [True, False, False])
    """

    def offered(start: PrototypeStart, truth: Crystals) -> list[StartCrystal]:
        staying = members_without(start.library, truth)
        return start.generate_like(truth.numbers, n, unseen=False, staying=staying)

    return answered_lists(model, crystals, offered)


def fresh_lists_of(model: str, crystals: Crystals, n: int) -> RankingLists:
    """Return the lists of crystals that the library was made without, as :func:`lists_of`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io, load_model
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> len(fresh_lists_of(str(load_model("mp20").path), salt, 2))
    1
    """

    def offered(start: PrototypeStart, truth: Crystals) -> list[StartCrystal]:
        return start.generate_like(truth.numbers, n, unseen=False)

    return answered_lists(model, crystals, offered)


def answered_lists(
    model: str,
    crystals: Crystals,
    offered: Callable[[PrototypeStart, Crystals], list[StartCrystal]],
) -> RankingLists:
    """Return the lists of some crystals, those for which nothing is offered left out.

    Parameters
    ----------
    model : str
        Folder of a model with a library and a judge.
    crystals : Crystals
    offered : function
        Of the library's start and one crystal, that returns prototypes for its composition.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io, load_model
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> len(answered_lists(str(load_model("mp20").path), salt, lambda start, truth: []))
    0
    """
    path = Path(model)
    priors = read_priors(path)
    start = PrototypeStart(_library_of(path), priors, noise=0.0)
    settings = anneal_settings(load_model(model))
    parts = []
    for truth in crystals:
        made = offered(start, truth)
        if not made:
            continue
        job = Job(model, "cpu", tuple(made), settings, (0,), with_basins=False, with_parents=True)
        ends = run_job(job)
        kept = [one for one in ends if is_reasonable(one, priors)]
        classes = equivalence_classes(
            [one.found.crystals for one in kept], [one.found.energy_per_atom for one in kept]
        )
        if not classes:
            continue
        rows = np.concatenate(facts([[kept[i] for i in members] for members in classes]))
        order = np.argsort(np.concatenate(classes))  # back to the order of the library
        right = [rms_distance(one.crystals, truth) is not None for one in kept]
        parts.append((rows[order], right))
    return RankingLists.of(parts)


def ranking_lists(
    trained: TrainedModel,
    crystals: Crystals,
    folder: Path,
    make: ListMaker,
    *,
    n_lists: int,
    n_prototypes: int,
    seed: int,
    pool: Executor | None = None,
    progress: bool = False,
) -> RankingLists:
    """Return lists for crystals drawn at random; what is in the folder is not made again.

    Parameters
    ----------
    trained : TrainedModel
    crystals : Crystals
    folder : Path
        Where files are kept, named by what they are made from.
    make : function
        :func:`lists_of` or another of its kind.
    n_lists, n_prototypes : int
    seed : int
        Of the choice.
    pool : concurrent.futures.Executor, optional
        Where to compute; in this process if not given.
    progress : bool

    Raises
    ------
    ValueError
        If the model has no prototype library or no judge.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salt, model = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6)), load_model("perov5")
    >>> ranking_lists(model, salt, Path("."), lists_of, n_lists=1, n_prototypes=1, seed=0)
    Traceback (most recent call last):
    ValueError: model must have a judge: ... has none
    """
    for name, what in ((PROTOTYPES, "prototype library"), (JUDGE, "judge")):
        if not (trained.path / name).is_file():
            raise ValueError(f"model must have a {what}: {trained.path} has none")
    digest = hashlib.sha256(trained.hash.encode())
    for name in (PROTOTYPES, PRIORS, JUDGE):
        digest.update((trained.path / name).read_bytes())
    for array in (crystals.positions, crystals.cells, crystals.numbers, crystals.offsets):
        digest.update(np.ascontiguousarray(array).tobytes())
    chosen = np.random.default_rng(seed).permutation(len(crystals))[:n_lists]
    paths = []
    waiting = []
    for begin in range(0, len(chosen), _AT_ONCE):
        rows = chosen[begin : begin + _AT_ONCE]
        own = digest.copy()
        own.update(repr((rows.tolist(), n_prototypes, make.__name__, FACTS)).encode())
        path = folder / f"lists-{own.hexdigest()[:16]}.npz"
        paths.append(path)
        if not path.is_file():
            some = crystals.select(rows)
            task = partial(_make, path, make, model_key(trained), some, n_prototypes)
            waiting.append(task if pool is None else pool.submit(task).result)
    bar = make.__name__.removesuffix("_of").replace("_", " ")
    for wait in tqdm(waiting, disable=not progress or not waiting, desc=bar, unit="file"):
        wait()
    return RankingLists.concatenate([RankingLists.load(path) for path in paths])


def _make(path: Path, make: ListMaker, model: str, crystals: Crystals, n: int) -> None:
    make(model, crystals, n).save(path)


@lru_cache(maxsize=2)
def _library_of(path: Path) -> PrototypeLibrary:
    return PrototypeLibrary.load(path / PROTOTYPES)
