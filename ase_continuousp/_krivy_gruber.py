"""The steps of Krivy and Gruber, compiled; `niggli` has what they are for and where they are from.

In the comments, with a tolerance: A = a·a, B = b·b, C = c·c, ξ = 2 b·c, η = 2 a·c, ζ = 2 a·b.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Passes after which a cell is left as it is: rounding could make steps undo each other. Cells
# need some ten passes, since shifts are taken in multiples.
MAX_PASSES = 200

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def reduce_all(cells: Floats, tolerance: float, transforms: Integers) -> None:
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
