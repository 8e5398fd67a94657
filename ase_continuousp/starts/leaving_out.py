"""A library as it would be without one of its crystals, for instance to learn from it.

Leaving out a whole composition is not the same: of two polymorphs in a training set each is found
with the other one known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.fingerprint import fingerprints
from ase_continuousp.starts.library import PrototypeLibrary, anonymized, stoichiometry

Floats = NDArray[np.float64]
#: Of some prototypes, which members count; of the others all do.
Staying = Mapping[int, NDArray[np.bool_]]

_FARTHEST = 0.5  # relative distance of fingerprints of a crystal and its class


def members_without(library: PrototypeLibrary, crystal: Crystals) -> dict[int, NDArray[np.bool_]]:
    """Return which members of the prototypes stay if a crystal had not been in the training set.

    What goes is the member of its composition and cell size that is nearest by fingerprint, if it
    is near at all, and all members beside of its composition: material beside a training set
    shares no composition with those to be found.

    Parameters
    ----------
    library : PrototypeLibrary
    crystal : Crystals
        A batch of one, of the training set.

    Returns
    -------
    dict from prototype to (n_members,) array of bool
        Prototypes that keep all of their members are left out.

    Examples
    --------
    >>> from ase_continuousp.starts.building import build_library
    >>> cell = 2.8 * (np.ones((3, 3)) - np.eye(3))
    >>> salts = [Crystals.single([[0, 0, 0], [2.8] * 3], cell, z) for z in ([11, 17], [20, 8])]
    >>> library = build_library(Crystals.concatenate(salts * 4), n_fit=0)
    >>> [int(stays.sum()) for stays in members_without(library, salts[0]).values()]
    [7]
    """
    elements, counts, _ = anonymized(crystal.numbers)
    key, _ = stoichiometry(counts)
    wanted = dict(zip(elements.tolist(), key, strict=True))
    going: dict[int, list[int]] = {}
    nearest, own = _FARTHEST, None
    target = _fingerprint(crystal, np.unique(crystal.numbers, return_inverse=True)[1])
    for p in library.of_stoichiometry(key):
        rows, side = library.members(p)
        alike = np.flatnonzero(np.all(np.sort(rows, axis=1) == np.sort(elements), axis=1))
        units = stoichiometry(library.counts(p))[0]
        for row in alike.tolist():
            if [wanted[z] for z in rows[row].tolist()] != list(units):
                continue  # the same elements in other amounts
            if side[row]:
                going.setdefault(p, []).append(row)
            elif library.n_atoms[p] == crystal.n_atoms:
                prototype = library.crystals([p])
                # Labels in the order of the elements, so that sites of one element are compared.
                rank = np.argsort(np.argsort(rows[row]))
                made = _fingerprint(prototype, rank[prototype.numbers])
                gap = _distance(made, target)
                if gap < nearest:
                    nearest, own = gap, (p, row)
    if own is not None:
        going.setdefault(own[0], []).append(own[1])
    made_masks = {}
    for p, leaving in going.items():
        made_masks[p] = np.ones(len(library.members(p)[1]), dtype=bool)
        made_masks[p][leaving] = False
    return made_masks


def _fingerprint(crystal: Crystals, labels: NDArray[np.int64]) -> Floats:
    made: Floats = fingerprints(crystal, labels, int(labels.max()) + 1)[0]
    return made


def _distance(one: Floats, two: Floats) -> float:
    scale = np.sqrt(np.sum(one**2) * np.sum(two**2))
    return math.sqrt(float(np.sum((one - two) ** 2) / scale))
