"""Prototypes learned from a training set: anonymous structures and who has been seen on them.

A prototype is a class of crystals that differ by their elements, by their volume and slightly by
their free parameters. It keeps the averaged, symmetrized primitive cell with labels A, B, ...
instead of elements, and of its members only which elements stood for the labels.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from lzma import LZMAError

import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals, offsets_of
from ase_continuousp.io.replacing import replacing
from ase_continuousp.starts.substitution import Substitution

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_FORMAT = "ase-continuousp prototypes 1"
# Multiples of 1/2, 1/3, ... 1/10 and 1/12 are exact in these steps, so symmetry survives storage.
_STEPS = 65520
_LONGEST = 64.0  # edges in units of ℓ
_WIDEST = 180.0  # angles in degrees


@dataclass(frozen=True)
class PrototypeLibrary:
    """Anonymous averaged structures with the elements seen on their sites.

    The sites of a prototype are sorted by label, labels by their number of sites.

    Parameters
    ----------
    spacegroups : (n_prototypes,) uint8 array
    shapes : (n_prototypes, 6) uint16 array
        Cell lengths in units of ℓ = (V/N)^(1/3) and angles, quantized.
    sites : (n_sites, 3) uint16 array
        Fractional coordinates, quantized.
    label_counts : (n_labels in total,) uint8 array
        Sites of each label of each prototype, ascending in each prototype.
    n_labels : (n_prototypes,) uint8 array
    n_members : (n_prototypes,) uint32 array
    elements : (sum of n_members * n_labels,) uint8 array
        Atomic numbers that stood for the labels, one row for each member.
    side : (sum of n_members,) bool array
        Members from material that is only beside the kind of crystals asked for.
    vectors : (n_elements, n_vector) float32 array
        Learned vectors of the elements, see :mod:`ase_continuousp.starts.substitution`.
    constants : (n_constants,) float32 array
        Learned constants that belong to them.
    energies : (sum of n_members,) uint8 array, optional
        Energy of each member above the convex hull, in the stored form of
        :mod:`ase_continuousp.starts.stability`.
    """

    spacegroups: NDArray[np.uint8]
    shapes: NDArray[np.uint16]
    sites: NDArray[np.uint16]
    label_counts: NDArray[np.uint8]
    n_labels: NDArray[np.uint8]
    n_members: NDArray[np.uint32]
    elements: NDArray[np.uint8]
    side: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    constants: NDArray[np.float32]
    energies: NDArray[np.uint8] | None = None

    @property
    def n_prototypes(self) -> int:
        """Number of prototypes."""
        return len(self.spacegroups)

    @property
    def substitution(self) -> Substitution:
        """How well one element stands for another, as learned with this library."""
        return Substitution(self.vectors.astype(np.float64), self.constants.astype(np.float64))

    @cached_property
    def _first_label(self) -> Integers:
        return offsets_of(self.n_labels)

    @cached_property
    def _first_member(self) -> Integers:
        return offsets_of(self.n_members)

    @cached_property
    def _first_element(self) -> Integers:
        return offsets_of(self.n_members.astype(np.int64) * self.n_labels)

    @cached_property
    def n_atoms(self) -> Integers:
        """Atoms in the primitive cell of each prototype, (n_prototypes,)."""
        return np.add.reduceat(self.label_counts.astype(np.int64), self._first_label[:-1])

    @cached_property
    def _first_site(self) -> Integers:
        return offsets_of(self.n_atoms)

    @cached_property
    def _by_stoichiometry(self) -> dict[tuple[int, ...], list[int]]:
        made: dict[tuple[int, ...], list[int]] = {}
        for p in range(self.n_prototypes):
            made.setdefault(stoichiometry(self.counts(p))[0], []).append(p)
        return made

    def counts(self, prototype: int) -> tuple[int, ...]:
        """Return the number of sites of each label in the primitive cell."""
        begin, end = self._first_label[prototype : prototype + 2]
        return tuple(self.label_counts[begin:end].tolist())

    def of_stoichiometry(self, counts: Sequence[int]) -> list[int]:
        """Return the prototypes of a stoichiometry such as (1, 1, 3)."""
        return self._by_stoichiometry.get(stoichiometry(counts)[0], [])

    def members(self, prototype: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the elements of the members, (n_members, n_labels), and which are beside."""
        begin, end = self._first_element[prototype : prototype + 2]
        first, last = self._first_member[prototype : prototype + 2]
        rows = self.elements[begin:end].reshape(-1, int(self.n_labels[prototype]))
        return rows, self.side[first:last]

    def member_energies(self, prototype: int) -> NDArray[np.uint8]:
        """Return the stored energies of the members of a prototype, 255 where not known."""
        first, last = self._first_member[prototype : prototype + 2]
        if self.energies is None:
            return np.full(last - first, 255, dtype=np.uint8)
        return self.energies[first:last]

    def structure(self, prototype: int) -> tuple[Floats, Floats, Integers]:
        """Return the primitive cell at one Å³ per atom, fractional coordinates and labels."""
        begin, end = self._first_site[prototype : prototype + 2]
        shape = self.shapes[prototype] / _STEPS * ([_LONGEST] * 3 + [_WIDEST] * 3)
        cell = np.asarray(cellpar_to_cell(shape), dtype=np.float64)
        cell *= np.cbrt((end - begin) / abs(np.linalg.det(cell)))
        counts = self.counts(prototype)
        return cell, self.sites[begin:end] / _STEPS, np.repeat(np.arange(len(counts)), counts)

    def crystals(self, prototypes: Sequence[int]) -> Crystals:
        """Return prototypes as a batch with labels 0, 1, ... instead of atomic numbers."""
        parts = [self.structure(p) for p in prototypes]
        offsets = offsets_of([len(labels) for _, _, labels in parts])
        numbers = np.concatenate([labels for _, _, labels in parts])
        cells = np.stack([cell for cell, _, _ in parts])
        empty = Crystals(np.zeros((len(numbers), 3)), cells, numbers, offsets)
        return empty.with_fractional(np.concatenate([f for _, f, _ in parts]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the library as one compressed file, whole or not at all.

        It is what `numpy.savez_compressed` writes, but for LZMA, which makes it a sixth smaller.
        """
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        arrays["format"] = np.array(_FORMAT)
        with replacing(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_LZMA) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PrototypeLibrary:
        """Read a library written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no prototype library, or a damaged one.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if str(stored["format"]) != _FORMAT:
                    raise ValueError(f"format is {stored['format']}, not {_FORMAT}")
                optional = {"energies"} - set(stored.files)
                names = [f.name for f in fields(cls) if f.name not in optional]
                made = cls(**{name: stored[name] for name in names})
        except (KeyError, ValueError, EOFError, LZMAError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a prototype library: {error}") from error
        if made._first_site[-1] != len(made.sites) or made._first_element[-1] != len(made.elements):
            raise ValueError(f"{path} is a damaged prototype library: counts and arrays disagree")
        if made.energies is not None and len(made.energies) != len(made.side):
            raise ValueError(
                f"{path} is a damaged prototype library: energies and members disagree"
            )
        return made


def stoichiometry(counts: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Return ascending counts without their common factor, and that factor.

    Examples
    --------
    >>> stoichiometry([2, 6, 2])
    ((1, 1, 3), 2)
    """
    factor = math.gcd(*counts)
    return tuple(sorted(c // factor for c in counts)), factor


def anonymized(numbers: ArrayLike) -> tuple[Integers, tuple[int, ...], Integers]:
    """Return the elements in the order of their labels, their counts, and the label of each atom.

    Labels ascend with the number of atoms, and with the atomic number among equals.

    Examples
    --------
    >>> elements, counts, labels = anonymized([38, 8, 22, 8, 8])
    >>> elements.tolist(), counts, labels.tolist()
    ([22, 38, 8], (1, 1, 3), [1, 2, 0, 2, 2])
    """
    elements, inverse, counts = np.unique(
        np.asarray(numbers, dtype=np.int64), return_inverse=True, return_counts=True
    )
    order = np.lexsort((elements, counts))
    rank = np.argsort(order)
    return elements[order], tuple(counts[order].tolist()), rank[inverse]


def quantized(cellpar: ArrayLike, fractional: ArrayLike) -> tuple[Integers, Integers]:
    """Return the stored form of cell lengths [ℓ] and angles, and of fractional coordinates."""
    shape = np.asarray(cellpar) * _STEPS / ([_LONGEST] * 3 + [_WIDEST] * 3)
    coordinates = np.rint(np.asarray(fractional) * _STEPS).astype(np.int64) % _STEPS
    return np.clip(np.rint(shape), 0, 65535).astype(np.int64), coordinates
