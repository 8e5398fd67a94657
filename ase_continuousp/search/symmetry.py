"""Space groups of crystals, which are never exact."""

from __future__ import annotations

import logging
import warnings

import spglib

from ase_continuousp.crystals import Crystals

logger = logging.getLogger(__name__)

SYMPREC = 0.1  # [Å]


def spacegroup(crystal: Crystals, symprec: float = SYMPREC) -> tuple[str, int]:
    """Return the international symbol and number of the space group, ("", 0) if there is none.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.
    symprec : float [Å]
        How far atoms may be from where symmetry wants them.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> spacegroup(io.from_atoms(bulk("NaCl", "rocksalt", a=5.6)))
    ('Fm-3m', 225)
    """
    described = (
        crystal.cells[0].tolist(),
        crystal.fractional.tolist(),
        crystal.numbers.tolist(),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = spglib.get_spacegroup(described, symprec=symprec)
    except Exception as error:  # spglib's errors have no common base across its versions
        logger.info("no space group: %s", error)
        return "", 0
    if not found:
        return "", 0
    symbol, number = str(found).rsplit(" ", 1)
    return symbol.strip(), int(number.strip("()"))
