"""Space groups of crystals, which are never exact."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import spglib

from ase_continuousp.crystals import Crystals

logger = logging.getLogger(__name__)

SYMPREC = 0.1  # [Å]
LARGEST_STRAIN = 0.02  # of the cell, where it is made symmetric
LARGEST_SHIFT = SYMPREC  # of an atom [Å], likewise


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


def symmetrized(crystal: Crystals, symprec: float = SYMPREC) -> Crystals | None:
    """Return the primitive standard cell with the symmetry that a crystal almost has.

    The symmetry is spglib's at the tolerance. Atoms move to where it wants them, the cell is
    strained likewise and keeps its volume per atom.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.
    symprec : float [Å]
        Tolerance of the symmetry search.

    Returns
    -------
    Crystals or None
        None if there is no symmetry but translations, if the cell would be strained by more than
        2 % or an atom moved by more than 0.1 Å.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    >>> atoms.rattle(0.01, seed=0)
    >>> made = symmetrized(io.from_atoms(atoms))
    >>> made.n_atoms, spacegroup(made, symprec=1e-4)
    (2, ('Fm-3m', 225))
    """
    cell = (crystal.cells[0].tolist(), crystal.fractional.tolist(), crystal.numbers.tolist())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = spglib.get_symmetry_dataset(cell, symprec=symprec)
            kept = spglib.standardize_cell(cell, True, True, symprec)
            ideal = spglib.standardize_cell(cell, True, False, symprec)
    except Exception as error:  # see above
        logger.info("no standard cell: %s", error)
        return None
    if found is None or kept is None or ideal is None or found.number == 1:
        return None
    numbers = np.asarray(ideal[2], dtype=np.int64)
    if not np.array_equal(numbers, kept[2]) or crystal.n_atoms % len(numbers):
        return None
    stretch = np.linalg.solve(kept[0], ideal[0])
    volume = abs(np.linalg.det(stretch))
    vectors = np.asarray(ideal[0]) / np.cbrt(volume)
    # Whatever rotation is in it, the stretches are the singular values.
    stretches = np.linalg.svd(stretch, compute_uv=False) / np.cbrt(volume)
    shifts = np.asarray(kept[1]) - np.asarray(ideal[1])
    shifts -= shifts[0]  # the two may have another origin
    shifts = (shifts - np.rint(shifts)) @ vectors
    moved = np.linalg.norm(shifts - shifts.mean(axis=0), axis=1).max()
    if np.abs(stretches - 1.0).max() > LARGEST_STRAIN or moved > LARGEST_SHIFT:
        return None
    return Crystals.single(np.asarray(ideal[1]) @ vectors, vectors, numbers)
