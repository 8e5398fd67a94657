"""Periodic neighbor search over batches of crystals, and ASE's neighbor list on top of it.

A pair (i, j, S) stands for the vector r_ij = r_j - r_i + S L from atom i to the image S of atom j,
where the rows of L are the cell vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist._ase import closed, neighbor_list
from ase_continuousp.neighborlist._backends import choose

__all__ = ["Neighbors", "closed", "neighbor_list", "search"]


@dataclass(frozen=True)
class Neighbors:
    """The pairs of a batch of crystals, sorted by center.

    Only integers are kept: distances follow from positions and cells, r_j - r_i + S L, so that
    whoever needs their derivatives computes them there.

    Parameters
    ----------
    i : (n_pairs,) int64 array
        Center of each pair, ascending; an index into the atoms of the whole batch.
    j : (n_pairs,) int64 array
        Neighbor, of the same crystal; an index into the atoms of the whole batch.
    S : (n_pairs, 3) int32 array
        Cell vectors by which the neighbor is shifted.
    first : (n_atoms + 1,) int64 array
        The pairs of center a are ``first[a]:first[a + 1]``.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> cubic = Crystals.single([[0.0, 0.0, 0.0]], np.eye(3), [84])
    >>> search(cubic, 1.1).n_pairs
    6
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    S: NDArray[np.int32]
    first: NDArray[np.int64]

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.i)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pairs of each center, (n_atoms,)."""
        return np.diff(self.first)


def search(
    crystals: Crystals, cutoffs: ArrayLike, *, half: bool = False, backend: str = "auto"
) -> Neighbors:
    """Return all pairs closer than the cutoff of their crystal.

    A pair counts if |r_j - r_i + S L| < cutoff, strictly, as in ASE. An atom is no neighbor of
    itself (i = j, S = 0), but of its images; different atoms at one place are neighbors. The
    cutoff may exceed the cell, cells may be left-handed and atoms may lie outside of them.

    The order of the pairs of one center is not defined, but the same in every run.

    Parameters
    ----------
    crystals : Crystals
    cutoffs : (n_crystals,) array or one number [Å]
    half : bool
        Return each pair once: i < j, or i = j with the first nonzero component of S positive.
    backend : {"auto", "reference", "cpu", "cuda"}
        "auto" is "cpu". "cuda" copies to a CUDA device and back (`tensors` searches where the
        arrays are); it was tested on Numba's simulator and never on a real device.

    Returns
    -------
    Neighbors

    Raises
    ------
    ValueError
        If a cutoff is negative or not finite, the number of cutoffs is wrong, positions or cells
        are not finite, a cell has no volume, or the backend is unknown.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.crystals import Crystals
    >>> copper = bulk("Cu", a=3.6)
    >>> fcc = Crystals.single(copper.positions, copper.cell, copper.numbers)
    >>> search(fcc, 2.6).n_pairs, search(fcc, 2.6, half=True).n_pairs
    (12, 6)
    """
    run = choose(backend)
    n_crystals = len(crystals.cells)
    r_c = np.asarray(cutoffs, dtype=np.float64)
    if r_c.shape == ():
        r_c = np.full(n_crystals, r_c)
    elif r_c.shape != (n_crystals,):
        raise ValueError(
            f"cutoffs must be one number or one per crystal: {n_crystals} crystals, "
            f"cutoffs of shape {r_c.shape}"
        )
    return Neighbors(
        *run(
            np.ascontiguousarray(crystals.positions, dtype=np.float64),
            np.ascontiguousarray(crystals.cells, dtype=np.float64),
            np.ascontiguousarray(crystals.offsets, dtype=np.int64),
            np.ascontiguousarray(r_c),
            half,
        )
    )
