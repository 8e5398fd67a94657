"""What the viewer of a page draws: plain numbers, no text that came from a file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

_BOND = 1.15  # times the sum of covalent radii
_NONMETALS = frozenset(
    Atoms("HHeBCNOFNeSiPSClArGeAsSeBrKrSbTeIXeAtRn").numbers.tolist(),
)


def scene(atoms: Atoms) -> dict[str, Any]:
    """Return cell and sites of a crystal, JSON-ready; sites as fractions of the cell vectors.

    Examples
    --------
    >>> from ase.build import bulk
    >>> scene(bulk("Cu"))["sites"]
    [['Cu', 0.0, 0.0, 0.0]]
    """
    wrapped = atoms.copy()
    wrapped.calc = None
    wrapped.wrap(eps=1e-6)
    fractions = wrapped.get_scaled_positions(wrap=False)
    return {
        "cell": [[round(float(x), 6) for x in row] for row in wrapped.cell.array],
        "sites": [
            [symbol, *(round(float(x), 6) + 0.0 for x in f)]
            for symbol, f in zip(wrapped.symbols, fractions, strict=True)
        ],
    }


def elements(images: Sequence[Atoms]) -> dict[str, dict[str, Any]]:
    """Return colour (of Jmol) and covalent radius [Å] of every element of the crystals.

    Examples
    --------
    >>> from ase.build import bulk
    >>> elements([bulk("Cu")])
    {'Cu': {'colour': '#c88033', 'radius': 1.32}}
    """
    numbers = sorted({int(z) for atoms in images for z in atoms.numbers})
    names = Atoms(numbers).get_chemical_symbols()
    return {
        name: {"colour": _hexadecimal(z), "radius": round(float(covalent_radii[z]), 3)}
        for name, z in zip(names, numbers, strict=True)
    }


def bond_lengths(images: Sequence[Atoms]) -> dict[str, float]:
    """Return the longest bond [Å] of each pair of elements that is drawn, under "A-B" and "B-A".

    A bond is at most 1.15 times the sum of the covalent radii. Where a crystal holds metals and
    nonmetals, metals are not bonded to each other: their radii overlap in every oxide.

    Examples
    --------
    >>> from ase.build import bulk
    >>> bond_lengths([bulk("NaCl", "rocksalt", a=5.64)])
    {'Na-Cl': 3.082, 'Cl-Na': 3.082, 'Cl-Cl': 2.346}
    """
    numbers = sorted({int(z) for atoms in images for z in atoms.numbers})
    names = dict(zip(numbers, Atoms(numbers).get_chemical_symbols(), strict=True))
    is_mixed = 0 < sum(z in _NONMETALS for z in numbers) < len(numbers)
    lengths = {}
    for a, b in combinations_with_replacement(numbers, 2):
        if is_mixed and a not in _NONMETALS and b not in _NONMETALS:
            continue
        length = round(_BOND * float(covalent_radii[a] + covalent_radii[b]), 3)
        lengths[f"{names[a]}-{names[b]}"] = lengths[f"{names[b]}-{names[a]}"] = length
    return lengths


def _hexadecimal(number: int) -> str:
    red, green, blue = np.rint(255 * np.asarray(jmol_colors[number])).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
