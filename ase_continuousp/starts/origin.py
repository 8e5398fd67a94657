"""What a prototype was made from: facts of the library that a ranking may weigh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.stability import UNKNOWN

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_FARTHEST = -60.0  # chemical log weight below which a known crystal is no relative
_N_NEAREST = 3


@dataclass(frozen=True)
class Origin:
    """The known crystals of a prototype, as seen from the composition that it was given.

    Weights are chemical log weights (:mod:`ase_continuousp.starts.substitution`), unscaled, against
    that of the same elements in the same cell, which is 0.

    Parameters
    ----------
    elements, nearest_elements : tuple of int
        Atomic numbers on the labels of the prototype, and those of the nearest known crystal.
    spacegroup : int
        International number.
    n_members : int
        Known crystals of the prototype.
    repeats : int
        Primitive cells in the crystal that was made. The true crystal rarely repeats anything.
    nearest : tuple of 3 floats
        Weights of the nearest known crystals.
    together : float
        log Σ exp of the weights of all of them.
    other : float
        Weight of the nearest known crystal of another composition.
    energy : float
        Energy above the convex hull of the nearest known crystal in the stored form of
        :mod:`ase_continuousp.starts.stability`; NaN where it is not known.
    mean_energy : float
        That of the nearest eight, averaged by their weights; NaN where none is known.
    unknown, beside : float
        Share of these, by their weights, with no known energy and that lie beside the kind of
        crystals asked for.
    is_beside : bool
        Whether the nearest known crystal lies beside.
    n_known, n_known_elsewhere : int
        Crystals of the very composition in the library, of any prototype: with as many atoms in
        the primitive cell as were asked for, and with others.
    parent : Crystals or None
        The prototype with the elements of the nearest known crystal of another composition.
    """

    elements: tuple[int, ...]
    nearest_elements: tuple[int, ...]
    spacegroup: int
    n_members: int
    repeats: int
    nearest: tuple[float, float, float]
    together: float
    other: float
    energy: float
    mean_energy: float
    unknown: float
    beside: float
    is_beside: bool
    n_known: int
    n_known_elsewhere: int
    parent: Crystals | None = None


@dataclass(frozen=True)
class Kin:
    """The known crystals of one prototype and how near they are to a composition.

    Parameters
    ----------
    elements : (n_members, n_labels) array of int
    weights : (n_members,) array
        Chemical log weights, see :class:`Origin`.
    energies : (n_members,) array of uint8
        Stored energies above the hull.
    side : (n_members,) array of bool
    """

    elements: NDArray[np.integer]
    weights: Floats
    energies: NDArray[np.uint8]
    side: NDArray[np.bool_]

    def nearest_other(self, elements: ArrayLike) -> Integers | None:
        """Return the elements of the nearest member that are not these on the same labels."""
        other = np.flatnonzero(np.any(self.elements != np.asarray(elements), axis=1))
        if len(other) == 0:
            return None
        found: Integers = self.elements[other[np.argmax(self.weights[other])]].astype(np.int64)
        return found

    def origin(
        self,
        elements: ArrayLike,
        *,
        spacegroup: int,
        repeats: int,
        known: tuple[int, int],
        parent: Crystals | None = None,
    ) -> Origin:
        """Return what a ranking is told of them.

        Parameters
        ----------
        elements : (n_labels,) array of int
            Of the composition, on the labels of the prototype.
        spacegroup, repeats : int
        known : (int, int)
            Crystals of the composition with as many atoms as asked for, and with others.
        parent : Crystals, optional
        """
        order = np.argsort(-self.weights, kind="stable")[:8]
        weights = np.maximum(self.weights[order], _FARTHEST)
        shares = np.exp(weights - weights[0])
        shares /= shares.sum()
        stored = self.energies[order].astype(np.float64)
        is_known = self.energies[order] != UNKNOWN
        mean = np.nan
        if is_known.any():
            mean = float(shares[is_known] @ stored[is_known] / shares[is_known].sum())
        first = [float(w) for w in weights[:_N_NEAREST]]
        first += [_FARTHEST] * (_N_NEAREST - len(first))
        others = np.any(self.elements != np.asarray(elements), axis=1)
        return Origin(
            elements=tuple(np.asarray(elements).tolist()),
            nearest_elements=tuple(self.elements[order[0]].tolist()),
            spacegroup=spacegroup,
            n_members=len(self.weights),
            repeats=repeats,
            nearest=(first[0], first[1], first[2]),
            together=float(max(np.logaddexp.reduce(self.weights), _FARTHEST)),
            other=float(np.max(self.weights[others], initial=_FARTHEST)),
            energy=float(stored[0]) if is_known[0] else np.nan,
            mean_energy=mean,
            unknown=float(shares[~is_known].sum()),
            beside=float(shares[self.side[order]].sum()),
            is_beside=bool(self.side[order[0]]),
            n_known=known[0],
            n_known_elsewhere=known[1],
            parent=parent,
        )


@dataclass(frozen=True)
class Decorated:
    """A prototype with the elements of a composition on its labels, and the units in its cell.

    `nearness` is the chemical log weight of its nearest member; `known` counts the crystals of the
    composition in the library, of as many atoms as were asked for and of others.
    """

    prototype: int
    elements: Integers
    multiple: int
    nearness: float
    kin: Kin
    known: tuple[int, int]


def count_known(rows: ArrayLike, side: NDArray[np.bool_], assignments: ArrayLike) -> int:
    """Return how many known crystals of a prototype are of a composition, those beside left out.

    Parameters
    ----------
    rows : (n_members, n_labels) array of int
    side : (n_members,) array of bool
    assignments : (n_orders, n_labels) array of int
        All ways to put the elements of the composition on the labels.

    Examples
    --------
    >>> count_known([[11, 17], [17, 11], [3, 9]], np.zeros(3, dtype=bool), [[11, 17], [17, 11]])
    2
    """
    members, orders = np.asarray(rows, dtype=np.int64), np.asarray(assignments, dtype=np.int64)
    alike = np.all(np.sort(members, axis=1) == np.sort(orders[0]), axis=1) & ~side
    if not alike.any():
        return 0
    return int(np.any(np.all(members[alike][:, None] == orders, axis=2), axis=1).sum())
