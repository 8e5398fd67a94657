"""Is a found crystal the true one: matching as in the literature, and stricter questions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.search.symmetry import spacegroup

logger = logging.getLogger(__name__)

STRICT_RMS = 0.2  # below it a match is a strict one
_PER_TASK = 8
# Ratio of the longest to the shortest direction of a cell. No crystal comes near it, and pymatgen
# would search the lattice of such a needle for hours.
_WORST_CELL = 1e3


@dataclass(frozen=True)
class Match:
    """How a found crystal compares with the true one.

    Parameters
    ----------
    rms : float or None
        Root mean square distance of the atoms after the best superposition, divided by
        (V/N)^(1/3); None if the crystals do not match.
    spacegroup, true_spacegroup : int
        International numbers; 0 where spglib finds none.
    """

    rms: float | None
    spacegroup: int
    true_spacegroup: int

    @property
    def is_strict(self) -> bool:
        """Whether the crystals match with an RMS distance below 0.2."""
        return self.rms is not None and self.rms < STRICT_RMS


def rms_distance(found: Crystals, truth: Crystals) -> float | None:
    """Return the normalized RMS distance of two crystals, or None if they do not match.

    pymatgen's StructureMatcher with stol=0.5, angle_tol=10, ltol=0.3: both crystals are reduced
    to primitive cells and scaled to the same volume, so volumes are not compared.

    Parameters
    ----------
    found, truth : Crystals
        Batches of one.

    Returns
    -------
    float or None

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salt, iron = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6)), io.from_atoms(bulk("Fe"))
    >>> rms_distance(salt, salt) < 1e-6, rms_distance(iron, salt)
    (True, None)
    """
    if max(np.linalg.cond(one.cells[0]) for one in (found, truth)) > _WORST_CELL:
        return None
    structures = [io.to_structures(one)[0] for one in (found, truth)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _matcher().get_rms_dist(*structures)
    except (ValueError, ArithmeticError, IndexError) as error:
        # Degenerate cells break pymatgen's reductions: such a crystal matches nothing.
        logger.info("matching failed: %s", error)
        return None
    return None if result is None else float(result[0])


def match(found: Crystals | None, truth: Crystals) -> Match:
    """Compare a found crystal, or none, with the true one.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> match(salt, salt).true_spacegroup
    225
    """
    true_number = spacegroup(truth)[1]
    if found is None:
        return Match(None, 0, true_number)
    return Match(rms_distance(found, truth), spacegroup(found)[1], true_number)


def match_many(
    pairs: Sequence[tuple[Crystals, Crystals]], executor: Executor | None = None
) -> list[Match]:
    """Compare many pairs of found and true crystals.

    Parameters
    ----------
    pairs : sequence of (found, truth)
    executor : concurrent.futures.Executor, optional
        Where to compute; in this process if not given.

    Returns
    -------
    list of Match, in the order of the pairs
    """
    if executor is None:
        return match_chunk(pairs)
    chunks = [pairs[a : a + _PER_TASK] for a in range(0, len(pairs), _PER_TASK)]
    futures = [executor.submit(match_chunk, chunk) for chunk in chunks]
    return [one for future in futures for one in future.result()]


def match_chunk(pairs: Sequence[tuple[Crystals, Crystals]]) -> list[Match]:
    """Compare pairs one after the other; a function of its own, so that workers find it."""
    return [match(found, truth) for found, truth in pairs]


@lru_cache(maxsize=1)
def _matcher() -> Any:
    """Return the matcher; pymatgen is slow to import, so only where it is needed."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(stol=0.5, angle_tol=10, ltol=0.3)
