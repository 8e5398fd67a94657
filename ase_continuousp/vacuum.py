"""Empty space in a cell: how one tells a slab, a wire or a molecule in a box from a crystal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals

# Of 8,000 crystals of the training set of MP-20 none has its widest gap between 4.9 and 7.5 Å. The
# 77 above are sheets and molecules in cells made for them.
WIDEST_OF_CRYSTALS = 6.5

# Families of lattice planes up to sign, with indices -1, 0 and 1: an empty layer is found whatever
# of the usual bases describes it.
_GRID = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
_PLANES: NDArray[np.float64] = _GRID[len(_GRID) // 2 + 1 :].astype(np.float64)


def widest_gap(crystal: Crystals) -> float:
    """Return the thickness of the widest layer between lattice planes that holds no atom [Å].

    Looks at the families of lattice planes with indices -1, 0 and 1.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.

    Examples
    --------
    >>> from ase.build import bulk, fcc111
    >>> from ase_continuousp.io import from_atoms
    >>> round(widest_gap(from_atoms(bulk("Cu", a=3.6))), 3)
    2.078
    >>> slab = fcc111("Cu", (1, 1, 3), vacuum=6.0, periodic=True)
    >>> round(widest_gap(from_atoms(slab)), 3)
    12.0
    """
    along = crystal.fractional @ _PLANES.T
    along = np.sort(along - np.floor(along), axis=0)
    around = along[0] + 1.0 - along[-1]
    widest = np.maximum(np.diff(along, axis=0).max(axis=0, initial=0.0), around)
    return float((widest * _spacings(crystal)).max())


def has_vacuum(crystal: Crystals) -> bool:
    """Return whether a layer of more than 6.5 Å holds no atom.

    Examples
    --------
    >>> from ase.build import bulk, molecule
    >>> from ase_continuousp.io import from_atoms
    >>> boxed = molecule("H2O", vacuum=5.0, pbc=True)
    >>> has_vacuum(from_atoms(bulk("Cu"))), has_vacuum(from_atoms(boxed))
    (False, True)
    """
    may_have = _spacings(crystal).max() > WIDEST_OF_CRYSTALS  # spares most crystals the sorting
    return bool(may_have) and widest_gap(crystal) > WIDEST_OF_CRYSTALS


def _spacings(crystal: Crystals) -> NDArray[np.float64]:
    """Return the distances of neighboring planes of each family [Å]."""
    spacings: NDArray[np.float64] = 1.0 / np.linalg.norm(
        _PLANES @ np.linalg.inv(crystal.cells[0]).T, axis=1
    )
    return spacings
