"""Rows of data files to checked crystals, chunk by chunk, in several processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context

import numpy as np
from ase import Atoms

from ase_continuousp import io, lattice
from ase_continuousp.crystals import Crystals
from ase_continuousp.io.rows import Row
from ase_continuousp.neighborlist import search

CLOSEST = 0.1  # Å: atoms nearer than this are one atom given twice; H2 has 0.74
_CHUNK = 200  # rows: some 0.2 s of CIFs
_SERIAL = 5  # chunks that are parsed before it is worth to start processes


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be trained on.

    Parameters
    ----------
    row : int
        Its number within the file, from 0.
    label : str
        What the file calls it, if anything.
    reason : str
    """

    row: int
    label: str
    reason: str


@dataclass(frozen=True)
class Chunk:
    """What became of some rows.

    Parameters
    ----------
    crystals : list of Crystals
        Batches, in order; none if all rows were bad.
    rows : list of int
        Row of each crystal.
    labels : list of str
        Label of each crystal.
    bad : list of BadRow
    n_rows : int
    """

    crystals: list[Crystals]
    rows: list[int]
    labels: list[str]
    bad: list[BadRow]
    n_rows: int


def parse_rows(rows: Iterable[Row], *, processes: int = 1) -> Iterator[Chunk]:
    """Parse and check rows; results come in their order and only a few chunks are held.

    A row is bad if it cannot be parsed, is disordered, has an unknown element, a cell without
    volume, an open direction, a number that is not finite, or two atoms at one place.

    Parameters
    ----------
    rows : iterable of Row
    processes : int
        Worker processes; started only for more than a thousand rows.

    Examples
    --------
    >>> from ase import Atoms
    >>> twice = Atoms("Po2", positions=[[0, 0, 0], [0, 0, 3.35]], cell=[3.35] * 3, pbc=True)
    >>> [chunk] = parse_rows([Row("", list, (twice[:1],)), Row("p2", list, (twice,))])
    >>> chunk.rows, chunk.bad[0].row, chunk.bad[0].reason
    ([0], 1, 'two atoms at one place: 0 and 1 are 0.000 Å apart')
    """
    numbered = _numbered(rows)
    if processes == 1:
        yield from map(_parse_chunk, numbered)
        return
    first = list(islice(numbered, _SERIAL))
    if len(first) < _SERIAL:
        yield from map(_parse_chunk, first)
        return
    waiting: deque[Future[Chunk]] = deque()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in chain(first, numbered):
            waiting.append(pool.submit(_parse_chunk, part))
            if len(waiting) > 3 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _numbered(rows: Iterable[Row]) -> Iterator[list[tuple[int, Row]]]:
    remaining = iter(enumerate(rows))
    while part := list(islice(remaining, _CHUNK)):
        yield part


def _parse_chunk(numbered: Sequence[tuple[int, Row]]) -> Chunk:
    owners: list[tuple[int, str]] = []
    batches: list[Crystals] = []
    bad: list[BadRow] = []
    for number, row in numbered:
        try:
            crystals = _checked(row.atoms())
        except ValueError as error:
            bad.append(BadRow(number, row.label, _one_line(str(error))))
            continue
        batches.append(crystals)
        owners += [(number, row.label)] * len(crystals)
    if not batches:
        return Chunk([], [], [], bad, len(numbered))
    crystals = Crystals.concatenate(batches)
    overlapping = _overlapping(crystals)
    # A row of several crystals stands and falls as one.
    reasons = {owners[b]: reason for b, reason in overlapping.items()}
    bad += [BadRow(row, label, reason) for (row, label), reason in reasons.items()]
    bad.sort(key=lambda one: one.row)
    kept = [b for b, owner in enumerate(owners) if owner not in reasons]
    good = [crystals.select(kept)] if kept else []
    rows, labels = [owners[b][0] for b in kept], [owners[b][1] for b in kept]
    return Chunk(good, rows, labels, bad, len(numbered))


def _checked(atoms: list[Atoms]) -> Crystals:
    try:
        return io.from_atoms(atoms[0] if len(atoms) == 1 else atoms)
    except (TypeError, ValueError) as error:
        raise ValueError(str(error).removeprefix("atoms: ").removeprefix("atoms ")) from error


def _overlapping(crystals: Crystals) -> dict[int, str]:
    """Return the crystals in which atoms, or images of one, lie at one place, and why."""
    thinnest = lattice.heights(crystals.cells).min(axis=1)
    found = {
        int(b): f"the cell is only {thinnest[b]:.2g} Å thick"
        for b in np.flatnonzero(thinnest < CLOSEST)
    }
    thick = np.flatnonzero(thinnest >= CLOSEST)
    if not len(thick):
        return found
    checked = crystals.select(thick)
    pairs = search(checked, CLOSEST, half=True)
    owners, first_pairs = np.unique(checked.crystal_index[pairs.i], return_index=True)
    for b, pair in zip(owners, first_pairs, strict=True):
        i, j = int(pairs.i[pair]), int(pairs.j[pair])
        apart = checked.positions[j] - checked.positions[i] + pairs.S[pair] @ checked.cells[b]
        first = int(checked.offsets[b])
        found[int(thick[b])] = (
            f"two atoms at one place: {i - first} and {j - first} are "
            f"{np.linalg.norm(apart):.3f} Å apart"
        )
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
