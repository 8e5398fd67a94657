"""Niggli reduction of batches of cells, with the integer transform that leads there.

Algorithm of I. Krivy and B. Gruber, Acta Cryst. A32, 297 (1976), doi:10.1107/S0567739476000636,
with comparisons under a tolerance as in R. W. Grosse-Kunstleve, N. K. Sauter and P. D. Adams,
Acta Cryst. A60, 1 (2004), doi:10.1107/S010876730302186X.

Every step has determinant +1: a left-handed cell stays left-handed, and the crystal does not move.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp._krivy_gruber import reduce_all
from ase_continuousp.crystals import Crystals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Tolerance of comparisons, relative to V^(2/3): above the rounding of a product of integers and
# cell vectors, below the noise of any measured cell.
TOLERANCE = 1e-8


def reduce(cells: ArrayLike) -> tuple[Floats, Integers]:
    """Return the Niggli-reduced bases of lattices.

    The reduced vectors are short, close to right angles and, but for the orientation in space,
    unique: equal lattices get equal metric tensors, unless two choices differ by rounding alone.

    Parameters
    ----------
    cells : (n_crystals, 3, 3) array [Å]
        Rows are lattice vectors; right- or left-handed.

    Returns
    -------
    reduced : (n_crystals, 3, 3) array [Å]
        Equal to ``transforms @ cells``: the lattice is not rotated, its handedness is kept.
    transforms : (n_crystals, 3, 3) int64 array
        Of determinant +1.

    Raises
    ------
    ValueError
        If the shape is wrong, a value is not finite, or a cell has no volume.

    Examples
    --------
    >>> reduced, transforms = reduce([[[2, 0, 0], [8, 3, 0], [2, 3, 4]]])
    >>> abs(reduced[0]).tolist()
    [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]
    """
    checked = _checked(cells)
    transforms = np.empty(checked.shape, dtype=np.int64)
    reduce_all(checked, TOLERANCE, transforms)
    return np.einsum("bij,bjk->bik", transforms.astype(np.float64), checked), transforms


def reduce_crystals(crystals: Crystals) -> Crystals:
    """Return the crystals in their Niggli-reduced cells, every atom inside its cell.

    Parameters
    ----------
    crystals : Crystals

    Returns
    -------
    Crystals
        The same crystals in space: atoms move by lattice vectors only.

    Raises
    ------
    ValueError
        If a cell is not finite or has no volume.

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> skewed = Crystals.single([[0, 0, 0]], [[2, 0, 0], [8, 3, 0], [2, 3, 4]], [84])
    >>> abs(reduce_crystals(skewed).cells[0]).tolist()
    [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]
    """
    reduced, _ = reduce(crystals.cells)
    return replace(crystals, cells=reduced).wrapped()


def straightened(crystals: Crystals, most: float = 5.0) -> Crystals:
    """Return crystals with Niggli-reduced cells where theirs are badly skewed; no atom moves.

    Parameters
    ----------
    crystals : Crystals
    most : float
        Product of the lengths of the vectors over the volume that is let pass: 1 at right angles,
        2 at most in a reduced cell.

    Returns
    -------
    Crystals
        The same crystals in space, every atom where it was; the same object if no cell is skewed.

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> skewed = Crystals.single([[5, 0, 0]], [[2, 0, 0], [80, 3, 0], [2, 3, 4]], [84])
    >>> straight = straightened(skewed)
    >>> abs(straight.cells[0]).tolist(), straight.positions.tolist()
    ([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]], [[5.0, 0.0, 0.0]])
    """
    spread = np.linalg.norm(crystals.cells, axis=2).prod(axis=1)
    is_skewed = spread > most * crystals.volumes
    if not is_skewed.any():
        return crystals
    cells = crystals.cells.copy()
    cells[is_skewed] = reduce(cells[is_skewed])[0]
    return replace(crystals, cells=cells)


def is_reduced(cells: ArrayLike, tolerance: float = 1e-6) -> NDArray[np.bool_]:
    """Tell which cells are Niggli-reduced.

    By the conditions of International Tables for Crystallography A, section 9.2.2, written down
    apart from the reduction.

    Parameters
    ----------
    cells : (n_crystals, 3, 3) array [Å]
    tolerance : float
        Within which numbers are equal, relative to V^(2/3).

    Returns
    -------
    (n_crystals,) array of bool

    Examples
    --------
    >>> is_reduced([[[2, 0, 0], [0, 3, 0], [0, 0, 4]], [[3, 0, 0], [0, 2, 0], [0, 0, 4]]]).tolist()
    [True, False]
    """
    checked = _checked(cells)
    eps = tolerance * np.cbrt(np.abs(np.linalg.det(checked))) ** 2
    a, b, c, xi, eta, zeta = parameters(checked).T

    def equal(x: Floats, y: Floats) -> NDArray[np.bool_]:
        close: NDArray[np.bool_] = np.abs(x - y) <= eps
        return close

    def unless(premise: NDArray[np.bool_], conclusion: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return ~premise | conclusion

    acute = (xi > eps) & (eta > eps) & (zeta > eps)
    obtuse = (xi <= eps) & (eta <= eps) & (zeta <= eps)
    total = a + b + xi + eta + zeta
    main = (a <= b + eps) & (b <= c + eps)
    main &= (np.abs(xi) <= b + eps) & (np.abs(eta) <= a + eps) & (np.abs(zeta) <= a + eps)
    main &= unless(equal(a, b), np.abs(xi) <= np.abs(eta) + eps)
    main &= unless(equal(b, c), np.abs(eta) <= np.abs(zeta) + eps)
    first = acute & unless(equal(xi, b), zeta <= 2 * eta + eps)
    first &= unless(equal(eta, a), zeta <= 2 * xi + eps)
    first &= unless(equal(zeta, a), eta <= 2 * xi + eps)
    second = obtuse & (total >= -eps)
    second &= unless(equal(xi, -b) | equal(eta, -a), equal(zeta, 0 * a))
    second &= unless(equal(zeta, -a), equal(eta, 0 * a))
    second &= unless(equal(total, 0 * a), 2 * (a + eta) + zeta <= eps)
    reduced: NDArray[np.bool_] = main & (first | second)
    return reduced


def parameters(cells: ArrayLike) -> Floats:
    """Return (a·a, b·b, c·c, 2 b·c, 2 a·c, 2 a·b) of each cell, (n_crystals, 6) [Å²].

    Examples
    --------
    >>> parameters([[[1, 0, 0], [0, 2, 0], [1, 0, 3]]]).tolist()
    [[1.0, 4.0, 10.0, 0.0, 2.0, 0.0]]
    """
    cells = np.asarray(cells, dtype=np.float64)
    metric = np.einsum("bix,bjx->bij", cells, cells)
    rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    values: Floats = metric[:, rows, columns] * np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    return values


def _checked(cells: ArrayLike) -> Floats:
    """Return the cells as an array, or raise ValueError."""
    array = np.ascontiguousarray(cells, dtype=np.float64)
    if array.ndim != 3 or array.shape[1:] != (3, 3):
        raise ValueError(f"cells must have shape (n_crystals, 3, 3): {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"cells must be finite: found {array[~np.isfinite(array)][0]}")
    flat = np.linalg.det(array) == 0.0
    if np.any(flat):
        raise ValueError(
            "cells must have three independent vectors (volume > 0): "
            f"{array[np.argmax(flat)].tolist()}"
        )
    return array
