"""Niggli reduction of batches of cells, with the integer transform that leads there.

Algorithm of I. Krivy and B. Gruber, Acta Cryst. A32, 297 (1976), doi:10.1107/S0567739476000636,
with comparisons under a tolerance as in R. W. Grosse-Kunstleve, N. K. Sauter and P. D. Adams,
Acta Cryst. A60, 1 (2004), doi:10.1107/S010876730302186X. In the comments, with a tolerance:

A = a·a, B = b·b, C = c·c, ξ = 2 b·c, η = 2 a·c, ζ = 2 a·b.

Every step has determinant +1: a left-handed cell stays left-handed, and the crystal does not move.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Tolerance of comparisons, relative to V^(2/3): above the rounding of a product of integers and
# cell vectors, below the noise of any measured cell.
TOLERANCE = 1e-8

# Passes after which a cell is left as it is: rounding could make steps undo each other. Cells
# need some ten passes, since shifts are taken in multiples.
MAX_PASSES = 200

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


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
    _reduce_all(checked, TOLERANCE, transforms)
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
    """Return (A, B, C, ξ, η, ζ) of each cell, (n_crystals, 6) [Å²].

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


@_jit
def _reduce_all(cells: Floats, tolerance: float, transforms: Integers) -> None:
    """Write the transform of every cell."""
    for b in range(len(cells)):
        _reduce_one(cells[b], tolerance, transforms[b])


@_jit
def _reduce_one(cell: Floats, tolerance: float, t: Integers) -> None:
    """Write the transform of one cell."""
    t[:] = 0
    t[0, 0] = t[1, 1] = t[2, 2] = 1
    g = np.empty(6)
    _measure(cell, t, g)
    eps = tolerance * np.abs(np.linalg.det(cell)) ** (2.0 / 3.0)
    for _ in range(MAX_PASSES):
        _order_a_b(cell, t, g, eps)
        if _order_b_c(cell, t, g, eps):
            continue
        if not _make_acute(cell, t, g, eps):
            _make_obtuse(cell, t, g, eps)
        if _shorten_c_by_b(cell, t, g, eps):
            continue
        if _shorten_c_by_a(cell, t, g, eps):
            continue
        if _shorten_b_by_a(cell, t, g, eps):
            continue
        if not _shorten_c_by_sum(cell, t, g, eps):
            return


@_jit
def _measure(cell: Floats, t: Integers, g: Floats) -> None:
    """Compute (A, B, C, ξ, η, ζ) anew from the cell, so that rounding does not add up."""
    r = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                r[i, k] += t[i, j] * cell[j, k]
    g[:] = 0.0
    for k in range(3):
        g[0] += r[0, k] * r[0, k]
        g[1] += r[1, k] * r[1, k]
        g[2] += r[2, k] * r[2, k]
        g[3] += 2.0 * r[1, k] * r[2, k]
        g[4] += 2.0 * r[0, k] * r[2, k]
        g[5] += 2.0 * r[0, k] * r[1, k]


@_jit
def _order_a_b(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 1: exchange a and b if A > B, or A = B and |ξ| > |η|."""
    tie = abs(g[0] - g[1]) <= eps and abs(g[3]) > abs(g[4]) + eps
    if not (g[0] > g[1] + eps or tie):
        return False
    for k in range(3):
        t[0, k], t[1, k], t[2, k] = -t[1, k], -t[0, k], -t[2, k]
    _measure(cell, t, g)
    return True


@_jit
def _order_b_c(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 2: exchange b and c if B > C, or B = C and |η| > |ζ|."""
    tie = abs(g[1] - g[2]) <= eps and abs(g[4]) > abs(g[5]) + eps
    if not (g[1] > g[2] + eps or tie):
        return False
    for k in range(3):
        t[0, k], t[1, k], t[2, k] = -t[0, k], -t[2, k], -t[1, k]
    _measure(cell, t, g)
    return True


@_jit
def _flip(cell: Floats, t: Integers, g: Floats, a: int, b: int, c: int) -> None:
    """Multiply the vectors by signs."""
    for k in range(3):
        t[0, k] *= a
        t[1, k] *= b
        t[2, k] *= c
    _measure(cell, t, g)


@_jit
def _make_acute(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 3: make ξ, η and ζ positive if their product is, none of them being zero."""
    n_positive = 0
    for k in range(3, 6):
        if abs(g[k]) <= eps:
            return False
        n_positive += g[k] > 0.0
    if n_positive % 2 == 0:
        return False
    if n_positive == 1:
        _flip(cell, t, g, 1 if g[3] > 0.0 else -1, 1 if g[4] > 0.0 else -1, 1 if g[5] > 0.0 else -1)
    return True


@_jit
def _make_obtuse(cell: Floats, t: Integers, g: Floats, eps: float) -> None:
    """Step 4: otherwise make ξ, η and ζ negative or zero.

    Flipping vectors by signs i, j, k with i j k = 1 multiplies ξ, η, ζ by the same signs. If the
    signs wanted have product -1, one of the three is zero and its sign is free.
    """
    signs = np.ones(3, dtype=np.int64)
    free = -1
    product = 1
    for k in range(3):
        if g[3 + k] > eps:
            signs[k] = -1
            product = -product
        elif g[3 + k] >= -eps:
            free = k
    if product < 0:
        signs[free] = -signs[free]
    if signs.min() < 0:
        _flip(cell, t, g, signs[0], signs[1], signs[2])


@_jit
def _add(cell: Floats, t: Integers, g: Floats, target: int, source: int, n: int) -> None:
    """Add n times one vector to another."""
    for k in range(3):
        t[target, k] += n * t[source, k]
    _measure(cell, t, g)


@_jit
def _multiple(projection: float, square: float) -> int:
    """Return how often a vector is to be subtracted: the nearest integer, and at least once.

    The published steps subtract once and come back; this is many such steps in one.
    """
    n = max(1, int(abs(projection) / (2.0 * square) + 0.5))
    return -n if projection > 0.0 else n


@_jit
def _shorten_c_by_b(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 5: add ∓b to c if |ξ| > B, or ξ = B and 2η < ζ, or ξ = -B and ζ < 0."""
    b, xi, eta, zeta = g[1], g[3], g[4], g[5]
    high = abs(xi - b) <= eps and 2.0 * eta < zeta - eps
    low = abs(xi + b) <= eps and zeta < -eps
    if not (abs(xi) > b + eps or high or low):
        return False
    _add(cell, t, g, 2, 1, _multiple(xi, b))
    return True


@_jit
def _shorten_c_by_a(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 6: add ∓a to c if |η| > A, or η = A and 2ξ < ζ, or η = -A and ζ < 0."""
    a, xi, eta, zeta = g[0], g[3], g[4], g[5]
    high = abs(eta - a) <= eps and 2.0 * xi < zeta - eps
    low = abs(eta + a) <= eps and zeta < -eps
    if not (abs(eta) > a + eps or high or low):
        return False
    _add(cell, t, g, 2, 0, _multiple(eta, a))
    return True


@_jit
def _shorten_b_by_a(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 7: add ∓a to b if |ζ| > A, or ζ = A and 2ξ < η, or ζ = -A and η < 0."""
    a, xi, eta, zeta = g[0], g[3], g[4], g[5]
    high = abs(zeta - a) <= eps and 2.0 * xi < eta - eps
    low = abs(zeta + a) <= eps and eta < -eps
    if not (abs(zeta) > a + eps or high or low):
        return False
    _add(cell, t, g, 1, 0, _multiple(zeta, a))
    return True


@_jit
def _shorten_c_by_sum(cell: Floats, t: Integers, g: Floats, eps: float) -> bool:
    """Step 8: add a + b to c if ξ + η + ζ + A + B < 0, or = 0 and 2(A + η) + ζ > 0."""
    total = g[3] + g[4] + g[5] + g[0] + g[1]
    tie = abs(total) <= eps and 2.0 * (g[0] + g[4]) + g[5] > eps
    if not (total < -eps or tie):
        return False
    for k in range(3):
        t[2, k] += t[0, k] + t[1, k]
    _measure(cell, t, g)
    return True
