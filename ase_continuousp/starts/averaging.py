"""Averaging the members of a prototype class to what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.alignment import aligned
from ase_continuousp.starts.fingerprint import fingerprints
from ase_continuousp.starts.grouping import Anonymous, PrototypeClass

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LENGTH = 2.5  # ℓ [Å] at which the tolerance of the symmetry search is meant
_WIDER = (8.0, 4.0, 2.0)  # multiples of the symmetry tolerance tried on means of members
FARTHEST = 0.2  # members displaced further [ℓ] are not averaged


@dataclass(frozen=True)
class Mean:
    """The mean of some members of a class.

    Parameters
    ----------
    cell : (3, 3) array
        At one Å³ per atom.
    fractional : (n_atoms, 3) array
    labels : (n_atoms,) array
        Ascending.
    used : tuple of int
        Places in the class of the members that were averaged, the leader's first.
    displacement : float
        The largest root mean square displacement from the leader, in units of ℓ.
    """

    cell: Floats
    fractional: Floats
    labels: Integers
    used: tuple[int, ...]
    displacement: float


def averaged(
    crystals: Crystals,
    anonymous: Sequence[Anonymous],
    c: PrototypeClass,
    others: Sequence[int],
    n_averaged: int,
) -> Mean:
    """Return the mean of the leader and those other members that can be brought to its setting.

    Parameters
    ----------
    crystals : Crystals
    anonymous : sequence of Anonymous
    c : PrototypeClass
    others : sequence of int
        Places in the class of the members to be tried, in this order.
    n_averaged : int
        Stop with so many.
    """
    counts = np.bincount(anonymous[c.leader].labels)
    cell, reference = _sorted(crystals, c.leader, anonymous[c.leader].labels)
    unit = cell * np.cbrt(len(reference) / abs(np.linalg.det(cell)))
    metrics, settings, used, farthest = [unit @ unit.T], [reference], [0], 0.0
    for m in others:
        if len(used) == n_averaged:
            break
        # The label that each label of the member takes in the class.
        place = np.argsort(c.orders[m])
        labels = place[anonymous[c.members[m]].labels]
        other = _sorted(crystals, c.members[m], labels)
        if len(other[1]) != len(reference):
            own, fractional, own_labels, _ = symmetrized(*other, np.sort(labels), 0.01)
            if not np.array_equal(np.bincount(own_labels), counts):
                continue
            other = own, fractional
        like = aligned(cell, reference, *other, counts)
        if like is not None and like[2] < FARTHEST:
            metrics.append(like[0])
            settings.append(like[1])
            used.append(m)
            farthest = max(farthest, like[2])
    return Mean(
        np.linalg.cholesky(np.mean(metrics, axis=0)),
        np.mean(settings, axis=0),
        np.repeat(np.arange(len(counts)), counts),
        tuple(used),
        farthest,
    )


def _sorted(crystals: Crystals, b: int, labels: Integers) -> tuple[Floats, Floats]:
    """Return cell and fractional coordinates of a crystal, sorted by label."""
    order = np.argsort(labels, kind="stable")
    positions = crystals.positions[crystals.offsets[b] : crystals.offsets[b + 1]][order]
    cell = crystals.cells[b]
    return cell, positions @ np.linalg.inv(cell)


def idealized(
    cell: Floats, fractional: Floats, labels: Integers, symprec: float, tolerance: float
) -> tuple[Floats, Floats, Integers, int]:
    """Return the most symmetric cell that is still of the class.

    The mean of distorted members may be as near to the undistorted structure as they are to each
    other; then that is what they have in common.
    """
    own = _print(cell, fractional, labels)
    for wider in _WIDER:
        ideal = symmetrized(cell, fractional, labels, wider * symprec)
        distance = np.linalg.norm(_print(*ideal[:3]) - own) / np.linalg.norm(own)
        if distance < tolerance:
            return ideal
    return symmetrized(cell, fractional, labels, symprec)


def _print(cell: Floats, fractional: Floats, labels: Integers) -> Floats:
    one = Crystals.single(fractional @ cell, cell, labels)
    return fingerprints(one, labels, int(labels.max()) + 1)


def symmetrized(
    cell: Floats, fractional: Floats, labels: Integers, symprec: float
) -> tuple[Floats, Floats, Integers, int]:
    """Return the idealized primitive cell at one Å³ per atom, sorted by label, and its group."""
    cell = cell * np.cbrt(len(labels) / abs(np.linalg.det(cell)))
    number = 1
    for tolerance in (symprec, symprec / 5.0, symprec / 50.0):
        raw: Any = (cell * _LENGTH, fractional, labels + 1)
        dataset = spglib.get_symmetry_dataset(raw, symprec=tolerance)
        if dataset is None:
            continue
        # The idealized conventional cell is exactly symmetric: its own symmetry is found fast.
        whole: Any = (dataset.std_lattice, dataset.std_positions, dataset.std_types)
        ideal = spglib.find_primitive(whole, symprec=1e-4)
        if ideal is not None:
            number = int(dataset.number)
            cell, fractional = np.asarray(ideal[0]), np.asarray(ideal[1])
            labels = np.asarray(ideal[2], dtype=np.int64) - 1
            break
    order = np.argsort(labels, kind="stable")
    cell = cell * np.cbrt(len(labels) / abs(np.linalg.det(cell)))
    return cell, fractional[order], labels[order], number
