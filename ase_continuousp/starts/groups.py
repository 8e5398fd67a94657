"""How often known crystals of a composition have each space group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.starts.library import PrototypeLibrary

Floats = NDArray[np.float64]

# Parts of a draw: what crystals of as many atoms show, what any of the stoichiometry show, and
# all groups alike, so that none is ruled out.
_SAME_SIZE, _ANY_SIZE, _ALIKE = 0.75, 0.2, 0.05


@dataclass(frozen=True)
class SeenGroups:
    """Weights of the space groups by what a prototype library has seen.

    Parameters
    ----------
    library : PrototypeLibrary

    Examples
    --------
    >>> from ase_continuousp import load_model
    >>> library = PrototypeLibrary.load(load_model("mp20").path / "prototypes.npz")
    >>> weights = SeenGroups(library).weights([38, 22, 8, 8, 8])
    >>> int(np.argmax(weights)), len(weights)
    (221, 231)
    """

    library: PrototypeLibrary

    def weights(self, numbers: ArrayLike) -> Floats:
        """Return the probability of each space group for atoms of a primitive cell.

        Parameters
        ----------
        numbers : (n_atoms,) array of int
            Only the counts of the elements matter, not which they are.

        Returns
        -------
        (231,) array
            By number of the group; the first is 0. Sums to one.
        """
        numbers = np.asarray(numbers)
        counts = np.unique(numbers, return_counts=True)[1].tolist()
        any_size, same_size = np.zeros(231), np.zeros(231)
        for prototype in self.library.of_stoichiometry(counts):
            n_members = int(np.sum(~self.library.members(prototype)[1]))
            group = int(self.library.spacegroups[prototype])
            any_size[group] += n_members
            if self.library.n_atoms[prototype] == len(numbers):
                same_size[group] += n_members
        alike = np.ones(231)
        alike[0] = 0.0
        parts = ((_SAME_SIZE, same_size), (_ANY_SIZE, any_size), (_ALIKE, alike))
        seen = [(share, part / part.sum()) for share, part in parts if part.sum() > 0]
        total: Floats = sum((share * part for share, part in seen), np.zeros(231))
        total /= total.sum()
        return total
