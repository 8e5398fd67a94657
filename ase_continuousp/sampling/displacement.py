"""A vector in the coordinates of a sampler: one block of atoms and one of cells per crystal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Displacement:
    """A step, a noise vector or a slope of a batch of crystals.

    Parameters
    ----------
    atoms : (n_atoms, 3) array
    cells : (n_crystals, 3, 3) array
        Zero where the cell does not move.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> crystals = Crystals.single([[0.0, 0.0, 0.0]], np.eye(3), [1])
    >>> unit = Displacement(np.ones((1, 3)), np.zeros((1, 3, 3)))
    >>> unit.scaled(2.0, crystals).squared_norm(crystals).tolist()
    [12.0]
    """

    atoms: Floats
    cells: Floats

    def scaled(self, factor: ArrayLike, crystals: Crystals) -> Displacement:
        """Return the vector times one factor, or one factor per crystal."""
        factor = np.broadcast_to(np.asarray(factor, dtype=np.float64), crystals.n_crystals)
        return Displacement(
            self.atoms * factor[crystals.crystal_index, None],
            self.cells * factor[:, None, None],
        )

    def plus(self, other: Displacement) -> Displacement:
        """Return the sum of two vectors."""
        return Displacement(self.atoms + other.atoms, self.cells + other.cells)

    def negative(self) -> Displacement:
        """Return the vector with the opposite sign."""
        return Displacement(-self.atoms, -self.cells)

    def dot(self, other: Displacement, crystals: Crystals) -> Floats:
        """Return the scalar product with another vector for each crystal, (n_crystals,)."""
        per_atom = np.einsum("ax,ax->a", self.atoms, other.atoms)
        of_atoms = np.add.reduceat(per_atom, crystals.offsets[:-1])
        of_cells: Floats = np.einsum("bxy,bxy->b", self.cells, other.cells)
        return of_atoms + of_cells

    def squared_norm(self, crystals: Crystals) -> Floats:
        """Return the squared length for each crystal, (n_crystals,)."""
        return self.dot(self, crystals)
