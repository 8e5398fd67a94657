"""Which crystals of a set are distinct, and which are in no reference set."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import to_structures

logger = logging.getLogger(__name__)

# Longest over shortest direction of a cell; pymatgen would search a needle for hours.
WORST_CELL = 1e3

Composition = tuple[tuple[int, int], ...]


def composition_of(crystal: Crystals) -> Composition:
    """Return the reduced composition of a crystal: (atomic number, count) pairs.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> composition_of(from_atoms(bulk("NaCl", "rocksalt", a=5.6, cubic=True)))
    ((11, 1), (17, 1))
    """
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    smallest = counts // np.gcd.reduce(counts)
    return tuple(zip(numbers.tolist(), smallest.tolist(), strict=True))


def by_composition(crystals: Crystals) -> dict[Composition, list[Crystals]]:
    """Return the crystals of a batch under their reduced compositions."""
    found: dict[Composition, list[Crystals]] = {}
    for one in crystals:
        found.setdefault(composition_of(one), []).append(one)
    return found


def are_equal(one: Crystals, other: Crystals) -> bool:
    """Tell whether two crystals are the same to pymatgen's StructureMatcher as it comes.

    The tolerances of match rates are too wide for this: rock salt matches zinc blende within them.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> salt = [bulk("NaCl", kind, a=5.6) for kind in ("rocksalt", "zincblende")]
    >>> are_equal(*from_atoms(salt))
    False
    """
    if max(np.linalg.cond(each.cells[0]) for each in (one, other)) > WORST_CELL:
        return False
    pair = [to_structures(each)[0] for each in (one, other)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(_matcher().fit(*pair))
    except (ValueError, ArithmeticError, IndexError) as error:
        # Degenerate cells break pymatgen's reductions: such a crystal equals nothing.
        logger.info("matching failed: %s", error)
        return False


def classes(crystals: Sequence[Crystals], *, progress: bool = False) -> NDArray[np.int64]:
    """Return for each crystal the place of the first one that it matches, its own if none.

    Two crystals match as :func:`are_equal` says.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> salt = [bulk("NaCl", kind, a=5.6) for kind in ("rocksalt", "zincblende", "rocksalt")]
    >>> classes(list(from_atoms(salt))).tolist()
    [0, 1, 0]
    """
    heads: dict[Composition, list[int]] = {}
    labels = np.arange(len(crystals))
    for place, one in enumerate(tqdm(crystals, desc="distinct", disable=not progress)):
        known = heads.setdefault(composition_of(one), [])
        for head in known:
            if are_equal(one, crystals[head]):
                labels[place] = head
                break
        else:
            known.append(place)
    return labels


def is_novel(
    crystals: Sequence[Crystals],
    reference: Mapping[Composition, Sequence[Crystals]],
    *,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Tell of each crystal whether it matches none of a reference set.

    Parameters
    ----------
    crystals : sequence of Crystals
        Batches of one.
    reference : dict
        What :func:`by_composition` returns.
    progress : bool

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> known = by_composition(from_atoms(bulk("NaCl", "rocksalt", a=5.6)))
    >>> salt = [bulk("NaCl", kind, a=5.6) for kind in ("rocksalt", "zincblende")]
    >>> is_novel(list(from_atoms(salt)), known).tolist()
    [False, True]
    """
    tracked = tqdm(crystals, desc="novel", disable=not progress)
    return np.array(
        [
            not any(are_equal(one, other) for other in reference.get(composition_of(one), ()))
            for one in tracked
        ],
        dtype=bool,
    )


@lru_cache(maxsize=1)
def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher()
