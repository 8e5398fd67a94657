"""Passes over pairs in Numba that know positions and cells: the vectors of pairs.

Array names carry their axes: h chosen pair, p pair, a atom, b crystal, x Cartesian.
"""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True, nogil=True)
def pair_vectors(
    half: Any,
    i_p: Any,
    j_p: Any,
    shift_px: Any,
    crystal_a: Any,
    r_ax: Any,
    cell_bxx: Any,
    length_b: Any,
    u_hx: Any,
) -> None:
    """Write u = (r_j − r_i + S L) / ℓ, in double precision up to the last rounding."""
    for h in range(len(half)):
        p = half[h]
        i, j = i_p[p], j_p[p]
        b = crystal_a[i]
        for x in range(3):
            d = r_ax[j, x] - r_ax[i, x]
            for y in range(3):
                d += shift_px[p, y] * cell_bxx[b, y, x]
            u_hx[h, x] = d / length_b[b]


@njit(cache=True, nogil=True)
def pair_vectors_gradient(
    half: Any,
    i_p: Any,
    j_p: Any,
    shift_px: Any,
    crystal_a: Any,
    u_hx: Any,
    length_b: Any,
    gu_hx: Any,
    gr_ax: Any,
    gcell_bxx: Any,
    glength_b: Any,
) -> None:
    """Add the gradients of the pair vectors to those of positions, cells and lengths."""
    for h in range(len(half)):
        p = half[h]
        i, j = i_p[p], j_p[p]
        b = crystal_a[i]
        inverse = 1.0 / length_b[b]
        for x in range(3):
            g = gu_hx[h, x] * inverse
            gr_ax[j, x] += g
            gr_ax[i, x] -= g
            glength_b[b] -= g * u_hx[h, x]
            for y in range(3):
                gcell_bxx[b, y, x] += shift_px[p, y] * g
