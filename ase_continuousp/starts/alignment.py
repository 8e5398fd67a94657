"""Bringing a crystal to the setting of another one of the same prototype.

All bases of the lattice that look like the reference cell are tried, with every translation that
puts an atom of the rarest label on the first such atom of the reference. Atoms are matched
greedily, label by label; the setting with the least mean square displacement wins.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_RANGE = 2  # coefficients of new basis vectors; reduced cells need no larger ones
_STRAIN = 0.2  # relative tolerance of the metric of a new basis


def aligned(
    reference_cell: ArrayLike,
    reference: ArrayLike,
    cell: ArrayLike,
    fractional: ArrayLike,
    counts: ArrayLike,
) -> tuple[Floats, Floats, float] | None:
    """Return the crystal in the setting of the reference, or None if no basis fits.

    Atoms of both crystals are sorted by label and equally many.

    Parameters
    ----------
    reference_cell, cell : (3, 3) array
        Of any volume; both are scaled to 1 per atom.
    reference, fractional : (n_atoms, 3) array
        Fractional coordinates.
    counts : (n_labels,) array of int
        Atoms of each label.

    Returns
    -------
    metric : (3, 3) array
        L Lᵀ of the new cell L at unit volume per atom.
    fractional : (n_atoms, 3) array
        In the new cell, in the order of the reference, without mean displacement.
    displacement : float
        Root mean square, in units of ℓ = (V/N)^(1/3).

    Examples
    --------
    >>> import numpy as np
    >>> cell = np.diag([1.0, 2.0, 3.0])
    >>> sites = [[0, 0, 0], [0.5, 0, 0]]
    >>> found = aligned(cell, sites, cell[[1, 2, 0]], [[0, 0, 0.5], [0, 0, 0]], [2])
    >>> found is not None and np.allclose(found[1], [[0, 0, 0], [0.5, 0, 0]])
    True
    """
    ref = _unit(reference_cell, len(np.asarray(reference)))
    new = _unit(cell, len(np.asarray(fractional)))
    basis, order, translation, square = _search(
        ref,
        np.ascontiguousarray(reference, dtype=np.float64),
        new,
        np.ascontiguousarray(fractional, dtype=np.float64),
        np.ascontiguousarray(counts, dtype=np.int64),
        _RANGE,
        _STRAIN,
    )
    if not np.isfinite(square):
        return None
    rows = basis @ new
    placed = np.asarray(fractional, dtype=np.float64)[order] @ np.linalg.inv(basis) + translation
    shift = placed - np.asarray(reference, dtype=np.float64)
    shift -= np.rint(shift)
    shift -= shift.mean(axis=0)
    displacement = float(np.sqrt(np.mean(np.sum((shift @ ref) ** 2, axis=1))))
    return rows @ rows.T, np.asarray(reference, dtype=np.float64) + shift, displacement


def _unit(cell: ArrayLike, n_atoms: int) -> Floats:
    cell = np.asarray(cell, dtype=np.float64)
    scaled: Floats = np.ascontiguousarray(cell * np.cbrt(n_atoms / abs(np.linalg.det(cell))))
    return scaled


@numba.njit(cache=True)
def _search(ref, fr, cell, f, counts, reach, strain):  # type: ignore[no-untyped-def]  # pragma: no cover
    n = len(fr)
    width = 2 * reach + 1
    vectors = np.empty((width**3, 3))
    coefficients = np.empty((width**3, 3))
    m = 0
    for a in range(-reach, reach + 1):
        for b in range(-reach, reach + 1):
            for c in range(-reach, reach + 1):
                coefficients[m] = np.array([a, b, c], dtype=np.float64)
                for x in range(3):
                    vectors[m, x] = a * cell[0, x] + b * cell[1, x] + c * cell[2, x]
                m += 1
    fits, n_fits = _edges(vectors, ref, strain)
    rare = int(np.argmin(counts))
    first = int(np.sum(counts[:rare]))
    best = np.inf
    best_basis = np.eye(3)
    best_order = np.arange(n)
    best_translation = np.zeros(3)
    order = np.empty(n, np.int64)
    used = np.empty(n, np.bool_)
    for ia in range(n_fits[0]):
        for ib in range(n_fits[1]):
            va, vb = fits[0, ia], fits[1, ib]
            if not _angle_fits(vectors[va], vectors[vb], ref[0], ref[1], strain):
                continue
            for ic in range(n_fits[2]):
                vc = fits[2, ic]
                if not (
                    _angle_fits(vectors[va], vectors[vc], ref[0], ref[2], strain)
                    and _angle_fits(vectors[vb], vectors[vc], ref[1], ref[2], strain)
                ):
                    continue
                basis = np.empty((3, 3))
                basis[0], basis[1], basis[2] = coefficients[va], coefficients[vb], coefficients[vc]
                if abs(abs(np.linalg.det(basis)) - 1.0) > 1e-6:
                    continue
                g = f @ np.linalg.inv(basis)
                for start in range(first, first + counts[rare]):
                    translation = fr[first] - g[start]
                    square = _match(fr, g, translation, counts, ref, order, used, best)
                    if square < best - 1e-9:
                        best = square
                        best_basis = basis
                        best_order = order.copy()
                        best_translation = translation
    return best_basis, best_order, best_translation, best


@numba.njit(cache=True)
def _edges(vectors, ref, strain):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the lattice vectors that can take the place of each edge of the reference."""
    fits = np.empty((3, len(vectors)), np.int64)
    n_fits = np.zeros(3, np.int64)
    for v in range(len(vectors)):
        length = np.sqrt(np.sum(vectors[v] ** 2))
        for axis in range(3):
            wanted = np.sqrt(np.sum(ref[axis] ** 2))
            if abs(length - wanted) <= strain * wanted:
                fits[axis, n_fits[axis]] = v
                n_fits[axis] += 1
    return fits, n_fits


@numba.njit(cache=True)
def _angle_fits(a, b, c, d, strain):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return whether a·b is as c·d within the strain."""
    scale = np.sqrt(np.sum(c**2) * np.sum(d**2))
    return abs(np.sum(a * b) - np.sum(c * d)) <= strain * scale


@numba.njit(cache=True)
def _match(fr, g, translation, counts, ref, order, used, limit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Match atoms greedily within their label; stop where the sum exceeds the limit."""
    used[:] = False
    total = 0.0
    begin = 0
    for k in range(len(counts)):
        end = begin + counts[k]
        for i in range(begin, end):
            nearest, which = np.inf, begin
            for j in range(begin, end):
                if used[j]:
                    continue
                d = g[j] + translation - fr[i]
                d = d - np.rint(d)
                square = 0.0
                for x in range(3):
                    r = d[0] * ref[0, x] + d[1] * ref[1, x] + d[2] * ref[2, x]
                    square += r * r
                if square < nearest:
                    nearest, which = square, j
            used[which] = True
            order[i] = which
            total += nearest
            if total >= limit:
                return np.inf
        begin = end
    return total
