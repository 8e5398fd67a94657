"""Passes of inference in Numba that training does not have: silu, geometry, features of ℓ.

Array names carry their axes: h pair, a atom, b crystal, x Cartesian, f scalar channel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ase_continuousp.model._lanes import N_BYTES, div, exp, fill, load, mad, mul, store

_jit = njit(cache=True, nogil=True)


@_jit
def silu(h_af: Any, y_af: Any) -> None:
    """Write h / (1 + exp(−h)); rows are whole lanes."""
    one, step = h_af.dtype.type(1), N_BYTES // h_af.itemsize
    for f in range(0, h_af.size, step):
        h = load(h_af, f)
        store(y_af, f, div(h, mad(one, exp(mul(-one, h)), fill(one))))


@_jit
def silu_gradient(h_af: Any, g_af: Any) -> None:
    """Multiply g by the derivative p (1 + h (1 − p)) of silu at h, p = 1 / (1 + exp(−h))."""
    one, step = h_af.dtype.type(1), N_BYTES // h_af.itemsize
    ones = fill(one)
    for f in range(0, h_af.size, step):
        h = load(h_af, f)
        p = div(one, mad(one, exp(mul(-one, h)), ones))
        slope = mad(h, mad(-one, mul(p, p), p), p)
        store(g_af, f, mul(slope, load(g_af, f)))


@_jit
def read(y_af: Any, out: Any, energy_a: Any) -> None:
    """Write energies y · out + the last of out, and out to y."""
    n_f = y_af.shape[1]
    for a in range(len(y_af)):
        energy = np.float64(out[n_f])
        for f in range(n_f):
            energy += np.float64(y_af[a, f]) * np.float64(out[f])
            y_af[a, f] = out[f]
        energy_a[a] = energy


@_jit
def divide(rows_bf: Any, count_b: Any) -> None:
    """Divide rows by numbers of atoms."""
    for b in range(len(rows_bf)):
        for f in range(rows_bf.shape[1]):
            rows_bf[b, f] /= count_b[b]


@_jit
def vectors(
    r_ax: Any, cell_bxx: Any, crystal_a: Any, length_b: Any, first: Any, j_h: Any, shift_hx: Any,
    u_hx: Any,
) -> None:  # fmt: skip
    """Write u = (r_j − r_i + S L) / ℓ, in double precision up to the last rounding."""
    for i in range(len(r_ax)):
        cell, length = cell_bxx[crystal_a[i]], length_b[crystal_a[i]]
        for h in range(first[i], first[i + 1]):
            for x in range(3):
                d = r_ax[j_h[h], x] - r_ax[i, x]
                for y in range(3):
                    d += shift_hx[h, y] * cell[y, x]
                u_hx[h, x] = d / length


@_jit
def embed(
    number_a: Any, offsets: Any, length_b: Any, embedding: Any, by_length: Any, features: Any,
    s_af: Any,
) -> None:  # fmt: skip
    """Write what the element and ℓ say of each atom."""
    row = np.empty(s_af.shape[1], s_af.dtype)
    for b in range(len(length_b)):
        for f in range(len(row)):
            row[f] = 0.0
        for k in range(len(by_length)):
            t = (math.log(length_b[b]) - features[k]) / (features[1] - features[0])
            value = math.exp(-0.5 * t * t)
            for f in range(len(row)):
                row[f] += value * by_length[k, f]
        for a in range(offsets[b], offsets[b + 1]):
            for f in range(len(row)):
                s_af[a, f] = embedding[number_a[a], f] + row[f]


@_jit
def follow(
    offsets: Any, length_b: Any, by_length: Any, features: Any, gs_af: Any, virial_bxx: Any
) -> None:
    """Add what the change of ℓ in `_embed` does to ∂E/∂ε: ∂ log ℓ/∂ε is a third of the unit."""
    spacing = features[1] - features[0]
    row = np.empty(gs_af.shape[1])
    for b in range(len(length_b)):
        for f in range(len(row)):
            row[f] = 0.0
        for a in range(offsets[b], offsets[b + 1]):
            for f in range(len(row)):
                row[f] += gs_af[a, f]
        total = 0.0
        for k in range(len(by_length)):
            t = (math.log(length_b[b]) - features[k]) / spacing
            slope = -t / spacing * math.exp(-0.5 * t * t)
            for f in range(len(row)):
                total += slope * row[f] * by_length[k, f]
        for x in range(3):
            virial_bxx[b, x, x] += total / 3.0


@_jit
def collect(
    first: Any, j_h: Any, u_hx: Any, gu_hx: Any, crystal_a: Any, length_b: Any, follows: Any,
    gradient_ax: Any, virial_bxx: Any,
) -> None:  # fmt: skip
    """Add the gradients of positions and strain that follow from those of pair vectors."""
    for i in range(len(gradient_ax)):
        b = crystal_a[i]
        for h in range(first[i], first[i + 1]):
            for x in range(3):
                g = np.float64(gu_hx[h, x])
                gradient_ax[j_h[h], x] += g / length_b[b]
                gradient_ax[i, x] -= g / length_b[b]
                for y in range(3):
                    virial_bxx[b, y, x] += u_hx[h, y] * g
    for b in range(len(virial_bxx)):
        trace = virial_bxx[b, 0, 0] + virial_bxx[b, 1, 1] + virial_bxx[b, 2, 2]
        for x in range(3):
            for y in range(x):
                mean = 0.5 * (virial_bxx[b, x, y] + virial_bxx[b, y, x])
                virial_bxx[b, x, y] = mean
                virial_bxx[b, y, x] = mean
            if follows:
                virial_bxx[b, x, x] -= trace / 3.0
