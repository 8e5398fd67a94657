"""Crystals in flat files that are mapped into memory: any row is read without the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals, offsets_of
from ase_continuousp.training.parsing import BadRow, Chunk

Integers = NDArray[np.int64]
# One file each; the numbers are as exact as those of Crystals, only smaller.
_FILES: dict[str, tuple[str, tuple[int, ...]]] = {
    "positions": ("<f8", (3,)),
    "cells": ("<f8", (3, 3)),
    "numbers": ("u1", ()),
    "counts": ("<i4", ()),
    "rows": ("<i8", ()),
}
_INDEX, _LABELS = "index.json", "labels.txt"


class StoreWriter:
    """Write crystals to a folder, chunk by chunk.

    The folder is complete, and can be opened as a :class:`CrystalStore`, after `finish`.

    Parameters
    ----------
    folder : Path
        An empty folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> po = Crystals.single([[0, 0, 0]], 3.35 * np.eye(3), [84])
    >>> with TemporaryDirectory() as folder:
    ...     with StoreWriter(Path(folder)) as writer:
    ...         writer.add(Chunk([po, po], [0, 2], ["", "mp-1"], [BadRow(1, "x", "no CIF")], 3))
    ...         writer.finish("two.csv")
    ...     store = CrystalStore(Path(folder))
    ...     len(store), store.n_rows, store.elements, store.name(1), store.bad[0].reason
    (2, 3, (84,), 'row 2 (mp-1) of two.csv', 'no CIF')
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {
            name: (folder / f"{name}.bin").open("wb") for name in _FILES
        }
        self._labels = (folder / _LABELS).open("w", encoding="utf-8")
        self._present = np.zeros(256, dtype=bool)
        self._bad: list[BadRow] = []
        self._n_rows = self._n_crystals = self._n_atoms = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in self._streams():
            stream.close()

    def add(self, chunk: Chunk) -> None:
        """Append what became of some rows."""
        for crystals in chunk.crystals:
            self._present[crystals.numbers] = True
            self._n_crystals += len(crystals)
            self._n_atoms += crystals.n_atoms
            for name, (kind, _) in _FILES.items():
                if name != "rows":
                    np.asarray(getattr(crystals, name)).astype(kind).tofile(self._files[name])
        np.asarray(chunk.rows, dtype="<i8").tofile(self._files["rows"])
        self._labels.writelines(f"{' '.join(label.split())}\n" for label in chunk.labels)
        self._bad += chunk.bad
        self._n_rows += chunk.n_rows

    def _streams(self) -> list[IO[Any]]:
        return [*self._files.values(), self._labels]

    def finish(self, source: str) -> None:
        """Write the index, which makes the folder complete."""
        index = {
            "source": source,
            "n_rows": self._n_rows,
            "n_crystals": self._n_crystals,
            "n_atoms": self._n_atoms,
            "elements": np.flatnonzero(self._present).tolist(),
            "bad": [asdict(one) for one in self._bad],
        }
        for stream in self._streams():
            stream.flush()
        (self._folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


@dataclass(frozen=True)
class CrystalStore:
    """Crystals of one data file, mapped into memory.

    Parameters
    ----------
    folder : Path
        Written by a :class:`StoreWriter`.
    source : str, optional
        What to call the data file; the one it was written from, if not given.
    """

    folder: Path
    source: str = ""

    def __len__(self) -> int:
        """Return the number of crystals."""
        return int(self._index["n_crystals"])

    @property
    def n_rows(self) -> int:
        """Rows of the data file, good and bad."""
        return int(self._index["n_rows"])

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur."""
        return tuple(self._index["elements"])

    @cached_property
    def bad(self) -> tuple[BadRow, ...]:
        """The rows that are left out."""
        return tuple(BadRow(**one) for one in self._index["bad"])

    @cached_property
    def counts(self) -> NDArray[np.int32]:
        """Atoms of each crystal."""
        return self._mapped("counts")

    @cached_property
    def rows(self) -> Integers:
        """Row of each crystal in the data file, from 0."""
        return self._mapped("rows")

    def name(self, crystal: int) -> str:
        """Return row, label and file of a crystal, for messages."""
        with (self.folder / _LABELS).open(encoding="utf-8") as stream:
            label = next(islice(stream, crystal, None)).strip()
        source = self.source or self._index["source"]
        return f"row {self.rows[crystal]}{f' ({label})' if label else ''} of {source}"

    def select(self, crystals: ArrayLike) -> Crystals:
        """Return the crystals of the given indices, in that order."""
        chosen = np.asarray(crystals, dtype=np.int64).reshape(-1)
        counts = self.counts[chosen]
        offsets = offsets_of(counts)
        atoms = np.repeat(self._offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Crystals(
            np.asarray(self._positions[atoms]),
            np.asarray(self._cells[chosen]),
            self._numbers[atoms].astype(np.int64),
            offsets,
        )

    def all(self) -> Crystals:
        """Return all crystals, in memory."""
        return Crystals(
            np.array(self._positions),
            np.array(self._cells),
            self._numbers.astype(np.int64),
            offsets_of(self.counts),
        )

    @cached_property
    def _index(self) -> dict[str, Any]:
        index: dict[str, Any] = json.loads((self.folder / _INDEX).read_text(encoding="utf-8"))
        return index

    @cached_property
    def _offsets(self) -> Integers:
        return offsets_of(self.counts)

    @cached_property
    def _positions(self) -> NDArray[np.float64]:
        return self._mapped("positions")

    @cached_property
    def _cells(self) -> NDArray[np.float64]:
        return self._mapped("cells")

    @cached_property
    def _numbers(self) -> NDArray[np.uint8]:
        return self._mapped("numbers")

    def _mapped(self, name: str) -> NDArray[Any]:
        kind, shape = _FILES[name]
        n = self._index["n_atoms" if name in ("positions", "numbers") else "n_crystals"]
        path = self.folder / f"{name}.bin"
        wanted = n * int(np.prod(shape)) * np.dtype(kind).itemsize
        if path.stat().st_size != wanted:
            raise ValueError(f"{path} must hold {wanted} bytes: remove {self.folder}, it is broken")
        if not n:
            return np.empty((0, *shape), dtype=kind)
        return np.memmap(path, dtype=kind, mode="r", shape=(n, *shape))


class CrystalFiles:
    """The crystals of several data files, one after the other.

    Parameters
    ----------
    stores : sequence of CrystalStore

    Examples
    --------
    >>> len(CrystalFiles([]))
    0
    """

    def __init__(self, stores: Sequence[CrystalStore]) -> None:
        self.stores = tuple(stores)
        self._first = offsets_of([len(store) for store in self.stores])

    def __len__(self) -> int:
        """Return the number of crystals."""
        return int(self._first[-1])

    @cached_property
    def counts(self) -> NDArray[np.int32]:
        """Atoms of each crystal."""
        if len(self.stores) == 1:
            return self.stores[0].counts
        return np.concatenate([store.counts for store in self.stores] or [np.empty(0, np.int32)])

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur."""
        return tuple(sorted({z for store in self.stores for z in store.elements}))

    def name(self, crystal: int) -> str:
        """Return row, label and file of a crystal, for messages."""
        k = int(np.searchsorted(self._first, crystal, side="right")) - 1
        return self.stores[k].name(crystal - int(self._first[k]))

    def select(self, crystals: ArrayLike) -> Crystals:
        """Return the crystals of the given indices, in that order."""
        chosen = np.asarray(crystals, dtype=np.int64).reshape(-1)
        if len(self.stores) == 1:
            return self.stores[0].select(chosen)
        owner = np.searchsorted(self._first, chosen, side="right") - 1
        parts, places = [], []
        for k in np.unique(owner):
            here = np.flatnonzero(owner == k)
            parts.append(self.stores[k].select(chosen[here] - self._first[k]))
            places.append(here)
        return Crystals.concatenate(parts).select(np.argsort(np.concatenate(places)))

    def all(self) -> Crystals:
        """Return all crystals, in memory."""
        return Crystals.concatenate([store.all() for store in self.stores])
