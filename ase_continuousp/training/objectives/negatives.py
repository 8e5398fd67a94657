"""Where the chains of contrastive divergence begin."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals

_FLATTEST = 1e-3  # determinant of a Gaussian cell below which another one is drawn


def random_negative(
    numbers: ArrayLike, rng: np.random.Generator, *, density: float = 0.05, many_units: bool = True
) -> Crystals:
    """Return a random crystal of the formula of these atoms, as the paper draws it.

    The number of formula units is geometric with parameter ½; the entries of the cell are
    standard normal, scaled to the density; the atoms lie anywhere.

    Parameters
    ----------
    numbers : (n,) array of int
        Atomic numbers of a crystal of the data.
    rng : numpy.random.Generator
    density : float
        Atoms per Å³.
    many_units : bool
        If false there are as many atoms as in the data.

    Examples
    --------
    >>> made = random_negative([11, 11, 17, 17], np.random.default_rng(0))
    >>> made.numbers.tolist(), round(float(made.counts[0] / made.volumes[0]), 3)
    ([11, 17, 11, 17], 0.05)
    """
    atoms = np.sort(np.asarray(numbers, dtype=np.int64))
    if many_units:
        atoms = np.tile(formula_unit(atoms), int(rng.geometric(0.5)))
    cell = rng.standard_normal((3, 3))
    while abs(np.linalg.det(cell)) < _FLATTEST:
        cell = rng.standard_normal((3, 3))
    cell *= (len(atoms) / density / abs(np.linalg.det(cell))) ** (1 / 3)
    return Crystals.single(rng.uniform(size=(len(atoms), 3)) @ cell, cell, atoms)


def formula_unit(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the atoms of the reduced formula.

    Examples
    --------
    >>> formula_unit(np.array([8, 8, 8, 8, 22, 22])).tolist()
    [8, 8, 22]
    """
    elements, counts = np.unique(numbers, return_counts=True)
    made: NDArray[np.int64] = np.repeat(elements, counts // math.gcd(*counts.tolist()))
    return made
