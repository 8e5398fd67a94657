"""A batch of crystals as a struct of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp import lattice

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Crystals:
    """A batch of fully periodic crystals, atoms of all crystals one after the other.

    Crystal b owns the atoms ``offsets[b]:offsets[b + 1]``. Rows of a cell are lattice vectors,
    positions are Cartesian, and the image S of an atom lies at r + S L.

    Parameters
    ----------
    positions : (n_atoms, 3) float64 array [Å]
    cells : (n_crystals, 3, 3) float64 array [Å]
    numbers : (n_atoms,) int64 array
        Atomic numbers.
    offsets : (n_crystals + 1,) int64 array
        First atom of each crystal, ending with ``n_atoms``.

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> one = Crystals.single([[0.0, 0.0, 0.0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> both = Crystals.concatenate([one, one])
    >>> both.n_crystals, both.n_atoms, both.volumes.tolist()
    (2, 2, [27.0, 27.0])
    """

    positions: Floats
    cells: Floats
    numbers: Integers
    offsets: Integers

    @classmethod
    def single(cls, positions: ArrayLike, cell: ArrayLike, numbers: ArrayLike) -> Crystals:
        """Return a batch of one crystal.

        Raises
        ------
        ValueError
            If shapes disagree, there is no atom, a value is not finite or the cell has no volume.
        """
        numbers = np.array(numbers, dtype=np.int64).reshape(-1)
        made = cls(
            positions=np.array(positions, dtype=np.float64).reshape(-1, 3),
            cells=np.array(cell, dtype=np.float64).reshape(1, 3, 3),
            numbers=numbers,
            offsets=np.array([0, len(numbers)], dtype=np.int64),
        )
        made.validate()
        return made

    @classmethod
    def concatenate(cls, batches: Sequence[Crystals]) -> Crystals:
        """Return one batch with the crystals of several, in order."""
        counts = np.concatenate([b.counts for b in batches])
        return cls(
            positions=np.concatenate([b.positions for b in batches]),
            cells=np.concatenate([b.cells for b in batches]),
            numbers=np.concatenate([b.numbers for b in batches]),
            offsets=offsets_of(counts),
        )

    def validate(self) -> None:
        """Raise ValueError unless the batch describes crystals of positive volume.

        Raises
        ------
        ValueError
            Names the array, the rule and the offending value.
        """
        n = len(self.numbers)
        if self.positions.shape != (n, 3):
            raise ValueError(
                f"positions must have one row of 3 per atom: {n} numbers, "
                f"positions of shape {self.positions.shape}"
            )
        if np.any(self.counts < 1):
            raise ValueError(f"a crystal must have at least one atom: atom counts {self.counts}")
        for name, array in (("positions", self.positions), ("cell", self.cells)):
            if not np.all(np.isfinite(array)):
                bad = array[~np.isfinite(array)][0]
                raise ValueError(f"{name} must be finite: found {bad}")
        scale = np.prod(np.linalg.norm(self.cells, axis=-1), axis=-1)
        flat = ~(self.volumes > 1e-9 * scale)
        if np.any(flat):
            worst = self.cells[np.argmax(flat)].tolist()
            raise ValueError(f"cell must have three independent vectors (volume > 0): {worst}")

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the whole batch."""
        return len(self.numbers)

    @property
    def n_crystals(self) -> int:
        """Number of crystals."""
        return len(self.cells)

    @property
    def counts(self) -> Integers:
        """Atoms of each crystal, (n_crystals,)."""
        return np.diff(self.offsets)

    @property
    def crystal_index(self) -> Integers:
        """Crystal that each atom belongs to, (n_atoms,)."""
        return np.repeat(np.arange(self.n_crystals, dtype=np.int64), self.counts)

    @property
    def volumes(self) -> Floats:
        """Volume of each cell [Å³], (n_crystals,)."""
        return lattice.volume(self.cells)

    @property
    def lengths(self) -> Floats:
        """Mean atomic distance ℓ = (V/N)^(1/3) of each crystal [Å], (n_crystals,)."""
        return np.cbrt(self.volumes / self.counts)

    @property
    def fractional(self) -> Floats:
        """Fractional coordinates, (n_atoms, 3)."""
        inverse = np.linalg.inv(self.cells)
        fractional: Floats = np.einsum("ax,axy->ay", self.positions, inverse[self.crystal_index])
        return fractional

    def with_fractional(self, fractional: ArrayLike, cells: ArrayLike | None = None) -> Crystals:
        """Return the batch with other fractional coordinates and, if given, other cells."""
        new = self.cells if cells is None else np.asarray(cells, dtype=np.float64)
        fractional = np.asarray(fractional, dtype=np.float64)
        positions = np.einsum("ax,axy->ay", fractional, new[self.crystal_index])
        return replace(self, positions=positions, cells=new)

    def wrapped(self) -> Crystals:
        """Return the batch with every atom inside its cell, 0 ≤ f < 1."""
        fractional = self.fractional
        wrapped = fractional - np.floor(fractional)
        wrapped[wrapped >= 1.0] = 0.0  # floor(-1e-17) leaves exactly one
        return self.with_fractional(wrapped)

    def select(self, crystals: ArrayLike) -> Crystals:
        """Return the crystals of the given indices or boolean mask, in that order."""
        chosen = np.arange(self.n_crystals)[np.asarray(crystals)].reshape(-1)
        counts = self.counts[chosen]
        offsets = offsets_of(counts)
        atoms = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Crystals(self.positions[atoms], self.cells[chosen], self.numbers[atoms], offsets)

    def where(self, mask: ArrayLike, other: Crystals) -> Crystals:
        """Return these crystals where the mask is true and those of `other` elsewhere.

        Both batches hold the same atoms; this is the one accept-or-refuse operation of samplers.
        """
        mask = np.asarray(mask, dtype=bool)
        atoms = mask[self.crystal_index]
        return replace(
            self,
            positions=np.where(atoms[:, None], self.positions, other.positions),
            cells=np.where(mask[:, None, None], self.cells, other.cells),
        )

    def __iter__(self) -> Iterator[Crystals]:
        """Iterate over the crystals as batches of one."""
        for b in range(self.n_crystals):
            yield self.select([b])

    def __len__(self) -> int:
        """Return the number of crystals."""
        return self.n_crystals


def offsets_of(counts: ArrayLike) -> Integers:
    """Return the running sum of counts, starting with 0: where each group begins."""
    counts = np.asarray(counts, dtype=np.int64)
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
