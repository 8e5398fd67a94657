"""Which crystals of a training set are of one structure, by their fingerprints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.fingerprint import GRID, fingerprints, relabelings
from ase_continuousp.starts.library import anonymized, stoichiometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_RELABELINGS = 120


@dataclass(frozen=True)
class Anonymous:
    """A crystal without its elements: they are kept beside, in the order of the labels."""

    elements: Integers
    key: tuple[int, ...]
    labels: Integers


@dataclass
class PrototypeClass:
    """Crystals of one structure: the first one leads, each with the order of its labels.

    Label k of the class is label order[k] of the member.
    """

    leader: int
    members: list[int] = field(default_factory=list)
    orders: list[tuple[int, ...]] = field(default_factory=list)


def anonymous_of(crystals: Crystals) -> tuple[list[Anonymous], list[NDArray[np.float32]]]:
    """Strip each crystal of its elements and take its fingerprint."""
    made = []
    for begin, end in zip(crystals.offsets[:-1], crystals.offsets[1:], strict=True):
        elements, counts, labels = anonymized(crystals.numbers[begin:end])
        made.append(Anonymous(elements, stoichiometry(counts)[0], labels))
    n_labels = np.array([len(a.elements) for a in made])
    prints: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(made)
    for n in np.unique(n_labels):
        chosen = np.flatnonzero(n_labels == n)
        labels = np.concatenate([made[b].labels for b in chosen])
        rows = fingerprints(crystals.select(chosen), labels, int(n)).astype(np.float32)
        for b, row in zip(chosen, rows, strict=True):
            prints[b] = row
    return made, prints


def classes_of(
    chosen: Sequence[int],
    counts: Integers,
    anonymous: Sequence[Anonymous],
    prints: Sequence[NDArray[np.float32]],
    tolerance: float,
) -> list[PrototypeClass]:
    """Put each chosen crystal into the class of the nearest leader, or let it lead a new one.

    Small cells come first, so that a supercell joins the class of its primitive cell.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for b in sorted(chosen, key=lambda b: int(counts[b])):
        groups.setdefault(anonymous[b].key, []).append(b)
    classes: list[PrototypeClass] = []
    for key, group in sorted(groups.items()):
        orders = _orders(key)
        leaders = np.empty((len(group), len(key) ** 2 * len(GRID)), np.float32)
        norms = np.empty(len(group), np.float32)
        found: list[PrototypeClass] = []
        for b in group:
            rows, norm = _rows(prints[b], orders)
            best, which, order = tolerance**2, -1, 0
            if found:
                squares = _squares(rows, norm, leaders[: len(found)], norms[: len(found)])
                order, which = divmod(int(np.argmin(squares)), len(found))
                best = float(squares[order, which])
            if not found or best >= tolerance**2:
                leaders[len(found)], norms[len(found)] = rows[0], norm
                which, order = len(found), 0
                found.append(PrototypeClass(b))
            found[which].members.append(b)
            found[which].orders.append(orders[order])
        classes += found
    return classes


def relatives_of(
    chosen: Sequence[int],
    counts: Integers,
    anonymous: Sequence[Anonymous],
    prints: Sequence[NDArray[np.float32]],
    n: int,
    reach: float,
) -> Iterator[PrototypeClass]:
    """Yield for each chosen crystal a class of it and the nearest of all others, nearest first.

    Only crystals with as many atoms in their cells count, and of those up to n whose fingerprints
    are within reach.
    """
    everyone: dict[tuple[int, ...], list[int]] = {}
    for b, a in enumerate(anonymous):
        everyone.setdefault((int(counts[b]), *a.key), []).append(b)
    groups: dict[tuple[int, ...], list[int]] = {}
    for b in chosen:
        groups.setdefault((int(counts[b]), *anonymous[b].key), []).append(b)
    for key, group in sorted(groups.items()):
        others = everyone[key]
        orders = _orders(key[1:])
        flat = np.stack([prints[b].ravel() for b in others])
        norms = np.sum(flat**2, axis=1)
        for b in group:
            rows, norm = _rows(prints[b], orders)
            squares = _squares(rows, norm, flat, norms)
            squares[:, others.index(b)] = np.inf
            order, nearest = np.argmin(squares, axis=0), np.min(squares, axis=0)
            made = PrototypeClass(b, [b], [tuple(range(len(key) - 1))])
            for place in np.argsort(nearest, kind="stable")[:n].tolist():
                if nearest[place] < reach**2:
                    made.members.append(others[place])
                    # The rows are of the leader's labels: its own order is the inverse.
                    made.orders.append(tuple(np.argsort(orders[order[place]]).tolist()))
            yield made


def _orders(key: tuple[int, ...]) -> list[tuple[int, ...]]:
    orders = relabelings(key)
    return orders if len(orders) <= _MOST_RELABELINGS else orders[:1]


def _rows(
    one: NDArray[np.float32], orders: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.float32], float]:
    """Return the fingerprint in all orders, row k being what stood at label order[k]."""
    rows = np.stack([one[np.ix_(o, o)].ravel() for o in orders])
    return rows, float(np.sum(rows[0] ** 2))


def _squares(
    rows: NDArray[np.float32], norm: float, known: NDArray[np.float32], norms: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return squared relative distances, (n_orders, n_known)."""
    squares = norm + norms - 2.0 * rows @ known.T
    relative: NDArray[np.float32] = (squares / np.sqrt(norm * norms + 1e-30)).astype(np.float32)
    return relative
