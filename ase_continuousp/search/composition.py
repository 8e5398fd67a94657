"""Compositions: formulas to atomic numbers, and how many formula units to try."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.starts.shapes import ShapeModel, pattern_of

Integers = NDArray[np.int64]

LARGEST_CELL = 20  # atoms of the largest cell that is tried by default
_MOST_ATOMS = 500
_LONGEST = 1000


def parse_formula(formula: str | Atoms) -> Integers:
    """Return the atomic numbers of a cell, elements in the order of the formula.

    Parameters
    ----------
    formula : str or Atoms
        Such as "SrTiO3" or "Ca(OH)2", with all atoms of the cell; or atoms, of which only the
        numbers are used.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If the formula cannot be read, names no element or an unknown one, or is too large.

    Examples
    --------
    >>> parse_formula("Ca(OH)2").tolist()
    [20, 8, 8, 1, 1]
    """
    if isinstance(formula, Atoms):
        counts = dict(zip(*np.unique(formula.numbers, return_counts=True), strict=True))
        named = {chemical_symbols[z]: int(n) for z, n in counts.items()}
        text = str(formula.symbols)
    elif isinstance(formula, str):
        text = formula.strip()
        if len(text) > _LONGEST:
            raise ValueError(f"formula must have at most {_LONGEST} characters: {len(text)}")
        try:
            named = {k: n for k, n in Formula(text).count().items() if n > 0}
        except (ValueError, RecursionError):  # many parentheses
            raise ValueError(
                "formula must consist of element symbols, whole numbers and parentheses, "
                f"such as SrTiO3 or Ca(OH)2: {formula!r}"
            ) from None
    else:
        raise TypeError(f"formula must be a string or Atoms: {type(formula).__name__}")
    unknown = [symbol for symbol in named if symbol not in chemical_symbols[1:]]
    if unknown:
        raise ValueError(f"formula must name elements only: {', '.join(unknown)} in {text!r}")
    if not named:
        raise ValueError(f"formula must name at least one element: {text!r}")
    if sum(named.values()) > _MOST_ATOMS:
        raise ValueError(
            f"formula must have at most {_MOST_ATOMS} atoms: {sum(named.values())} in {text!r}"
        )
    return np.concatenate(
        [np.full(n, chemical_symbols.index(symbol), dtype=np.int64) for symbol, n in named.items()]
    )


def check_elements(numbers: ArrayLike, supported: Sequence[int], model: str) -> None:
    """Raise ValueError if an element is none of those that the model knows.

    Examples
    --------
    >>> check_elements([11, 17], [11, 17, 19], "salts")
    """
    missing = [chemical_symbols[z] for z in np.setdiff1d(np.asarray(numbers), supported)]
    if missing:
        known = ", ".join(chemical_symbols[z] for z in sorted(supported))
        which = (
            f"element {missing[0]} is"
            if len(missing) == 1
            else f"elements {', '.join(missing)} are"
        )
        raise ValueError(f"{which} not supported by model {model!r}; supported: {known}")


def formula_unit(numbers: ArrayLike) -> tuple[Integers, int]:
    """Return the smallest formula unit of the atoms of a cell, and how many make up the cell.

    Examples
    --------
    >>> unit, count = formula_unit([11, 11, 17, 17])
    >>> unit.tolist(), count
    ([11, 17], 2)
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    elements, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    order = np.argsort(first)
    units = math.gcd(*counts.tolist())
    return np.repeat(elements[order], counts[order] // units), units


def choose_units(unit: ArrayLike, wanted: int | Iterable[int] | None = None) -> list[int]:
    """Return the numbers of formula units that the cell may hold.

    Parameters
    ----------
    unit : (n_atoms,) array of int
        Atoms of one formula unit.
    wanted : int, iterable of int or None
        The choice of the user. If None: all that make cells of at most 20 atoms, and one where
        that is already more.

    Raises
    ------
    TypeError, ValueError
        If a number is not a positive integer, there is none, or a cell would be too large.

    Examples
    --------
    >>> choose_units([22, 8, 8]), choose_units([22, 8, 8], [4, 1])
    ([1, 2, 3, 4, 5, 6], [1, 4])
    """
    size = len(np.asarray(unit))
    if wanted is not None:
        chosen = [wanted] if isinstance(wanted, int) else list(wanted)
        for z in chosen:
            if isinstance(z, bool) or not isinstance(z, int | np.integer):
                raise TypeError(f"formula_units must be whole numbers: {z!r}")
            if z < 1 or z * size > _MOST_ATOMS:
                raise ValueError(
                    f"formula_units must be at least 1, the cell at most {_MOST_ATOMS} atoms: {z}"
                )
        if not chosen:
            raise ValueError("formula_units must not be empty")
        return sorted({int(z) for z in chosen})
    return list(range(1, max(1, LARGEST_CELL // size) + 1))


def unit_frequencies(
    unit: ArrayLike, units: Iterable[int], shapes: ShapeModel | None = None
) -> dict[int, float]:
    """Return how often training crystals of a stoichiometry have each number of formula units.

    Parameters
    ----------
    unit : (n_atoms,) array of int
        Atoms of one formula unit.
    units : iterable of int
    shapes : ShapeModel, optional
        Knows the counts; without it all are equal.

    Returns
    -------
    dict from number of formula units to frequency; they sum to one

    Examples
    --------
    >>> unit_frequencies([11, 17], [1, 2])
    {1: 0.5, 2: 0.5}
    """
    patterns = {} if shapes is None else shapes.patterns
    counts = {
        z: 1 + sum(count for _, count in patterns.get(pattern_of(np.tile(unit, z)), ()))
        for z in units
    }
    total = sum(counts.values())
    return {z: count / total for z, count in counts.items()}
