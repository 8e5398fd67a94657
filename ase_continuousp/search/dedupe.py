"""Which of many crystals are the same: classes by pymatgen's StructureMatcher."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.fingerprint import fingerprints

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)

_LARGEST_VOLUME_RATIO = 1.15
_FAR = 0.45  # relative distance of fingerprints beyond which crystals are not compared


def equivalence_classes(
    crystals: Sequence[Crystals], energies: ArrayLike, *, tolerance: float = 0.002
) -> list[list[int]]:
    """Return the indices of equal crystals, class by class.

    Crystals are equal if StructureMatcher with its default tolerances maps them on each other
    (cells of several formula units included) and their volumes per atom agree to 15 %. Most
    pairs are told apart before by their distances, at no cost.

    Parameters
    ----------
    crystals : sequence of Crystals
        Batches of one, all of the same elements in the same ratio.
    energies : (n,) array
        Per atom; they decide about the order.
    tolerance : float
        Crystals of a class whose energies differ by less from its lowest count as equally good,
        and the smallest cell among them comes first.

    Returns
    -------
    list of lists of int
        Lowest class first; within a class, its representative first.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> cells = [bulk("Cu", a=3.6, cubic=True), bulk("Fe", a=2.87), bulk("Cu", a=3.6)]
    >>> for atoms in cells:
    ...     atoms.numbers[:] = 29
    >>> equivalence_classes([io.from_atoms(a) for a in cells], [-2.0, -1.0, -2.0])
    [[2, 0], [1]]
    """
    energies = np.asarray(energies, dtype=np.float64)
    if len(crystals) < 2:
        return [[0]] * len(crystals)
    distances = _fingerprint_distances(crystals)
    volumes = np.array([one.volumes[0] / one.n_atoms for one in crystals])
    structures = [_primitive(io.to_structures(one)[0]) for one in crystals]
    classes: list[list[int]] = []
    for index in np.argsort(energies, kind="stable").tolist():
        heads = [members[0] for members in classes]
        for c in np.argsort(distances[index, heads], kind="stable").tolist():
            head = heads[c]
            ratio = volumes[index] / volumes[head]
            near = distances[index, head] < _FAR
            same_volume = 1 / _LARGEST_VOLUME_RATIO < ratio < _LARGEST_VOLUME_RATIO
            if near and same_volume and _fits(structures[index], structures[head]):
                classes[c].append(index)
                break
        else:
            classes.append([index])
    return [_smallest_first(members, crystals, energies, tolerance) for members in classes]


def _fingerprint_distances(crystals: Sequence[Crystals]) -> Floats:
    """Return distances of the fingerprints, relative to their mean length, (n, n)."""
    batch = Crystals.concatenate(crystals)
    elements, labels = np.unique(batch.numbers, return_inverse=True)
    vectors = fingerprints(batch, labels, len(elements)).reshape(len(crystals), -1)
    squares = np.einsum("nk,nk->n", vectors, vectors)
    gaps = squares[:, None] + squares[None, :] - 2.0 * vectors @ vectors.T
    distances: Floats = np.sqrt(np.maximum(gaps, 0.0) / max(float(squares.mean()), 1e-300))
    return distances


def _primitive(structure: Any) -> Any:
    """Return the primitive Niggli-reduced structure, once for all comparisons."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return structure.get_reduced_structure("niggli").get_primitive_structure()
    except (ValueError, ArithmeticError, IndexError) as error:
        logger.info("reduction failed: %s", error)
        return structure


def _fits(one: Any, other: Any) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(_matcher().fit(one, other, skip_structure_reduction=True))
    except (ValueError, ArithmeticError, IndexError) as error:
        logger.info("matching failed: %s", error)
        return False


@lru_cache(maxsize=1)
def _matcher() -> Any:
    """Return the matcher; pymatgen is slow to import, so only where it is needed."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher()


def _smallest_first(
    members: list[int], crystals: Sequence[Crystals], energies: Floats, tolerance: float
) -> list[int]:
    lowest = energies[members[0]]
    good = [m for m in members if energies[m] - lowest <= tolerance]
    head = min(good, key=lambda m: (crystals[m].n_atoms, energies[m]))
    return [head, *(m for m in members if m != head)]
