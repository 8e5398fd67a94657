"""Batches of crystals from and to the objects of ASE and pymatgen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ase_continuousp.crystals import Crystals, offsets_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

LARGEST_NUMBER = 118
FULL_OCCUPANCY_TOLERANCE = 1e-3


def from_atoms(atoms: Atoms | Sequence[Atoms]) -> Crystals:
    """Return ASE Atoms as a batch of crystals.

    Parameters
    ----------
    atoms : Atoms or sequence of Atoms
        Periodic in all three directions. Nothing is wrapped, reduced or reordered.

    Returns
    -------
    Crystals

    Raises
    ------
    TypeError
        If an item is not an Atoms object.
    ValueError
        If there is nothing, or a structure has no atom, an open direction, a cell without volume,
        a value that is not finite, a number that is no element, or partly occupied sites.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> crystals = from_atoms([bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64)])
    >>> crystals.counts.tolist(), crystals.numbers.tolist()
    ([1, 2], [29, 11, 17])
    """
    items = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not items:
        raise ValueError("atoms must hold at least one structure: got none")
    names = ["atoms"] if isinstance(atoms, Atoms) else [f"atoms[{n}]" for n in range(len(items))]
    for item, name in zip(items, names, strict=True):
        _check(item, name)
    batch = _batch(items)
    try:
        batch.validate()
    except ValueError:
        for item, name in zip(items, names, strict=True):
            try:
                _batch([item]).validate()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        raise
    return batch


def to_atoms(crystals: Crystals) -> list[Atoms]:
    """Return a batch of crystals as ASE Atoms, periodic in all directions.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms, to_atoms
    >>> [atoms] = to_atoms(from_atoms(bulk("Cu")))
    >>> str(atoms.symbols), atoms.pbc.tolist()
    ('Cu', [True, True, True])
    """
    return [
        Atoms(
            crystals.numbers[first:last],
            positions=crystals.positions[first:last],
            cell=cell,
            pbc=True,
        )
        for first, last, cell in zip(
            crystals.offsets[:-1], crystals.offsets[1:], crystals.cells, strict=True
        )
    ]


def from_structures(structures: Structure | Sequence[Structure]) -> Crystals:
    """Return pymatgen Structures as a batch of crystals; errors as `from_atoms`.

    Examples
    --------
    >>> from pymatgen.core import Structure
    >>> from ase_continuousp.io import from_structures
    >>> from_structures(Structure([[3, 0, 0], [0, 3, 0], [0, 0, 3]], ["Po"], [[0, 0, 0]])).n_atoms
    1
    """
    from pymatgen.core import IStructure

    several = not isinstance(structures, IStructure)
    items: list[Any] = list(structures) if several else [structures]
    for n, item in enumerate(items):
        name = f"structures[{n}]" if several else "structures"
        if not isinstance(item, IStructure):
            raise TypeError(f"{name} must be a pymatgen Structure: got {type(item).__name__}")
        if not item.is_ordered:
            raise ValueError(f"{name} must be ordered (no partial occupancy): {item.formula}")
    return from_atoms(
        [
            Atoms(
                item.atomic_numbers,
                positions=item.cart_coords,
                cell=item.lattice.matrix,
                pbc=item.lattice.pbc,
            )
            for item in items
        ]
    )


def to_structures(crystals: Crystals) -> list[Structure]:
    """Return a batch of crystals as pymatgen Structures.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms, to_structures
    >>> [structure] = to_structures(from_atoms(bulk("NaCl", "rocksalt", a=5.64)))
    >>> structure.formula
    'Na1 Cl1'
    """
    from pymatgen.core import Structure

    return [
        Structure(one.cells[0], one.numbers.tolist(), one.positions, coords_are_cartesian=True)
        for one in crystals
    ]


def _batch(items: Sequence[Atoms]) -> Crystals:
    return Crystals(
        positions=np.concatenate([item.positions for item in items]).astype(np.float64),
        cells=np.stack([item.cell.array for item in items]).astype(np.float64),
        numbers=np.concatenate([item.numbers for item in items]).astype(np.int64),
        offsets=offsets_of([len(item) for item in items]),
    )


def _check(atoms: Atoms, name: str) -> None:
    """Raise unless this is Atoms that a batch can hold; shapes and volume are checked there."""
    if not isinstance(atoms, Atoms):
        raise TypeError(f"{name} must be an ASE Atoms object: got {type(atoms).__name__}")
    if len(atoms) == 0:
        raise ValueError(f"{name} must have at least one atom: got none")
    if not np.all(atoms.pbc):
        raise ValueError(
            f"{name} must have a full 3-D periodic cell (pbc True in all directions): "
            f"pbc is {atoms.pbc.tolist()}"
        )
    odd = (atoms.numbers < 1) | (atoms.numbers > LARGEST_NUMBER)
    if np.any(odd):
        raise ValueError(
            f"{name} must hold elements, atomic numbers 1 to {LARGEST_NUMBER}: "
            f"got {atoms.numbers[odd][0]}"
        )
    # Where ASE's CIF reader leaves the occupancies of each kind of site.
    occupancy = atoms.info.get("occupancy")
    for kind in occupancy.values() if isinstance(occupancy, Mapping) else ():
        if any(abs(share - 1) > FULL_OCCUPANCY_TOLERANCE for share in kind.values()):
            raise ValueError(f"{name} must be ordered (no partial occupancy): site {dict(kind)}")
