"""Starts that lie within one space group."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from ase.spacegroup.symmetrize import refine_symmetry
from numpy.typing import ArrayLike

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.search.symmetry import SYMPREC, spacegroup
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.leaving_out import Staying
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.prototype import PrototypeStart, VolumeModel

logger = logging.getLogger(__name__)

TIGHT = 1e-5  # [Å] to which starts have their symmetry
_ALL = 10_000  # more than are ever offered


class PrototypesWithin(PrototypeStart):
    """Prototypes of one space group, their symmetry made exact. Those of others do not count.

    Parameters
    ----------
    library : path or PrototypeLibrary
    priors : VolumeModel
    group : int
        Number of the space group.

    Examples
    --------
    >>> from ase_continuousp.starts.building import build_library
    >>> from ase_continuousp.starts.priors import Priors
    >>> cell = 2.8 * (np.ones((3, 3)) - np.eye(3))
    >>> salts = [Crystals.single([[0, 0, 0], [2.8] * 3], cell, z) for z in ([11, 17], [20, 8])]
    >>> salts = Crystals.concatenate(salts * 4)
    >>> library, priors = build_library(salts, n_fit=0), Priors.fit(salts, n_steps=50)
    >>> rng = np.random.default_rng(0)
    >>> [len(PrototypesWithin(library, priors, g).generate([12, 8], 5, rng)) for g in (225, 216)]
    [1, 0]
    """

    def __init__(
        self, library: str | os.PathLike[str] | PrototypeLibrary, priors: VolumeModel, group: int
    ) -> None:
        super().__init__(library, priors, noise=0.0)
        self.group = group

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return up to n crystals of these atoms, best first."""
        return self._within(super().generate(numbers, _ALL, rng), n)

    def generate_any(
        self,
        unit: ArrayLike,
        multiples: Sequence[int],
        n: int,
        *,
        unseen: bool = False,
        staying: Staying | None = None,
    ) -> list[StartCrystal]:
        """Return up to n crystals whose cells hold any of several numbers of units, best first."""
        offered = super().generate_any(unit, multiples, _ALL, unseen=unseen, staying=staying)
        return self._within(offered, n)

    def _within(self, offered: Iterable[StartCrystal], n: int) -> list[StartCrystal]:
        kept: list[StartCrystal] = []
        for one in offered:
            if len(kept) == n:
                break
            if spacegroup(one.crystals)[1] == self.group:
                exact = made_exact(one.crystals)
                if spacegroup(exact, TIGHT)[1] == self.group:
                    kept.append(replace(one, crystals=exact))
        return kept


def no_fit(spacegroup: int | str) -> str:
    """Return why a search within a space group may have nothing to start from, for messages."""
    return (
        f" in space group {spacegroup!r}: its sites do not hold these atoms, or no prototype is "
        "known in it; other numbers of formula units may fit"
    )


def made_exact(crystal: Crystals, symprec: float = SYMPREC) -> Crystals:
    """Return a crystal with the symmetry that it has to a tolerance, atoms and basis in order.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.
    symprec : float [Å]

    Examples
    --------
    >>> from ase.build import bulk
    >>> atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    >>> atoms.rattle(0.01, seed=0)
    >>> exact = made_exact(io.from_atoms(atoms))
    >>> exact.n_atoms, spacegroup(exact, symprec=1e-6)
    (8, ('Fm-3m', 225))
    """
    [atoms] = io.to_atoms(crystal)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refine_symmetry(atoms, symprec=symprec)
    except Exception as error:  # spglib's errors have no common base across its versions
        logger.info("no symmetry made exact: %s", error)
        return crystal
    return Crystals.single(atoms.positions, atoms.cell.array, crystal.numbers)
