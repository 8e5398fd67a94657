"""Fused passes over pairs in Numba: filter, gather, gate and reduce, with hand-written gradients.

Strategy: of the pairs (i, j, S) and (j, i, −S) one is visited, which works on the rows of both
atoms; they share the filter. Nothing of size pairs times channels ever exists, and the rows of a
small crystal stay in the cache. The radial filters are cubic B-splines, of which four control
points are alive at a distance. Channels go in lanes: rows are multiples of 64 bytes.

Array names carry their axes: h chosen pair, p pair, a atom, x Cartesian, f scalar channel,
g vector channel, q channel of the filters or of what atoms send, k control point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ase_continuousp.model._lanes import N_BYTES, fill, load, mad, mul, store, total

# Relaxed, but NaN must still propagate, so "nnan" and "ninf" stay out.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


@njit(cache=True, nogil=True, inline="always")
def _knot(distance: Any, spacing: Any, n_intervals: Any) -> Any:
    """Interval of the spline and the position inside it; (-1, 0) at and beyond the cutoff."""
    scaled = distance / spacing
    if not scaled < n_intervals:  # also true for NaN
        return -1, scaled
    return int(scaled), scaled - np.floor(scaled)


@njit(cache=True, nogil=True, inline="always")
def _weights(t: Any, one: Any) -> Any:
    """Weights of the four living control points; typed constants keep float32 in float32."""
    two, three, six = one + one, one + one + one, (one + one) * (one + one + one)
    r = one - t
    s0 = r * r * r / six
    s3 = t * t * t / six
    s1 = (three * t * t * (t - two) + two + two) / six
    return s0, s1, one - s0 - s1 - s3, s3


@njit(cache=True, nogil=True, inline="always")
def _slopes(t: Any, spacing: Any, one: Any) -> Any:
    """Derivatives of the weights over distance."""
    two, three = one + one, one + one + one
    r = one - t
    scale = one / (two * spacing)
    h0 = -r * r * scale
    h3 = t * t * scale
    h1 = (three * t * t - (two + two) * t) * scale
    return h0, h1, -h0 - h1 - h3, h3


@njit(cache=True, nogil=True, inline="always")
def _four(s0: Any, s1: Any, s2: Any, s3: Any, w_kq: Any, at: Any, n_q: Any) -> Any:
    """Combine four control points."""
    sum_0 = mul(s0, load(w_kq, at))
    sum_1 = mad(s1, load(w_kq, at + n_q), sum_0)
    sum_2 = mad(s2, load(w_kq, at + 2 * n_q), sum_1)
    return mad(s3, load(w_kq, at + 3 * n_q), sum_2)


@njit(cache=True, nogil=True, inline="always")
def _add_four(s0: Any, s1: Any, s2: Any, s3: Any, row: Any, gw_kq: Any, at: Any, n_q: Any) -> None:
    """Add a row to four control points."""
    store(gw_kq, at, mad(s0, row, load(gw_kq, at)))
    at += n_q
    store(gw_kq, at, mad(s1, row, load(gw_kq, at)))
    at += n_q
    store(gw_kq, at, mad(s2, row, load(gw_kq, at)))
    at += n_q
    store(gw_kq, at, mad(s3, row, load(gw_kq, at)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def forward(
    first: Any,
    half: Any,
    j_p: Any,
    u_hx: Any,
    z_aq: Any,
    c_axg: Any,
    w_kq: Any,
    spacing: Any,
    m_af: Any,
    v_axg: Any,
) -> None:
    """Add up m_i = Σ φ¹(d) a_j and v_i = Σ φ²(d) b_j u + φ³(d) c_j, where z = (a, b, ...)."""
    n_f, n_g, n_c, n_q = m_af.shape[1], v_axg.shape[2], c_axg.shape[2], w_kq.shape[1]
    n_z, n_fg = z_aq.shape[1], n_f + n_g
    step = N_BYTES // w_kq.itemsize
    n_intervals = w_kq.dtype.type(w_kq.shape[0] - 3)
    one = w_kq.dtype.type(1)
    for i in range(len(first) - 1):
        z_i, m_i, v_i = i * n_z, i * n_f, 3 * i * n_g
        for h in range(first[i], first[i + 1]):
            j = j_p[half[h]]
            x, y, z = u_hx[h, 0], u_hx[h, 1], u_hx[h, 2]
            k, t = _knot(np.sqrt(x * x + y * y + z * z), spacing, n_intervals)
            if k < 0:
                if t != t:  # NaN shows in the result instead of vanishing
                    for f in range(n_f):
                        m_af[i, f] = t
                        m_af[j, f] = t
                continue
            s0, s1, s2, s3 = _weights(t, one)
            z_j, m_j, v_j = j * n_z, j * n_f, 3 * j * n_g
            for f in range(0, n_f, step):
                phi = _four(s0, s1, s2, s3, w_kq, k * n_q + f, n_q)
                # One after the other: i and j may be the same atom.
                old = load(m_af, m_i + f)
                store(m_af, m_i + f, mad(phi, load(z_aq, z_j + f), old))
                old = load(m_af, m_j + f)
                store(m_af, m_j + f, mad(phi, load(z_aq, z_i + f), old))
            for g in range(0, n_g, step):
                phi = _four(s0, s1, s2, s3, w_kq, k * n_q + n_f + g, n_q)
                sent = mul(phi, load(z_aq, z_j + n_f + g))
                back = mul(phi, load(z_aq, z_i + n_f + g))
                at_0, at_1, at_2 = v_i + g, v_i + n_g + g, v_i + 2 * n_g + g
                to_0, to_1, to_2 = v_j + g, v_j + n_g + g, v_j + 2 * n_g + g
                i0 = mad(x, sent, load(v_axg, at_0))
                i1 = mad(y, sent, load(v_axg, at_1))
                i2 = mad(z, sent, load(v_axg, at_2))
                if n_c:
                    phi = _four(s0, s1, s2, s3, w_kq, k * n_q + n_fg + g, n_q)
                    i0 = mad(phi, load(c_axg, to_0), i0)
                    i1 = mad(phi, load(c_axg, to_1), i1)
                    i2 = mad(phi, load(c_axg, to_2), i2)
                store(v_axg, at_0, i0)
                store(v_axg, at_1, i1)
                store(v_axg, at_2, i2)
                j0 = mad(-x, back, load(v_axg, to_0))
                j1 = mad(-y, back, load(v_axg, to_1))
                j2 = mad(-z, back, load(v_axg, to_2))
                if n_c:
                    j0 = mad(phi, load(c_axg, at_0), j0)
                    j1 = mad(phi, load(c_axg, at_1), j1)
                    j2 = mad(phi, load(c_axg, at_2), j2)
                store(v_axg, to_0, j0)
                store(v_axg, to_1, j1)
                store(v_axg, to_2, j2)


@njit(cache=True, nogil=True, fastmath=_FAST)
def backward(
    first: Any,
    half: Any,
    j_p: Any,
    u_hx: Any,
    z_aq: Any,
    c_axg: Any,
    w_kq: Any,
    spacing: Any,
    gm_af: Any,
    gv_axg: Any,
    wants_u: Any,
    wants_w: Any,
    gu_hx: Any,
    gz_aq: Any,
    gc_axg: Any,
    gw_kq: Any,
) -> None:
    """Add gradients with respect to pair vectors, what the atoms send and control points."""
    n_f, n_g, n_c, n_q = gm_af.shape[1], gv_axg.shape[2], c_axg.shape[2], w_kq.shape[1]
    n_z = z_aq.shape[1]
    step = N_BYTES // w_kq.itemsize
    n_intervals = w_kq.dtype.type(w_kq.shape[0] - 3)
    one = w_kq.dtype.type(1)
    zero = w_kq.dtype.type(0)
    nothing = fill(zero)
    for i in range(len(first) - 1):
        z_i, m_i, v_i = i * n_z, i * n_f, 3 * i * n_g
        for h in range(first[i], first[i + 1]):
            j = j_p[half[h]]
            x, y, z = u_hx[h, 0], u_hx[h, 1], u_hx[h, 2]
            d = np.sqrt(x * x + y * y + z * z)
            k, t = _knot(d, spacing, n_intervals)
            if k < 0:
                continue
            s0, s1, s2, s3 = _weights(t, one)
            h0, h1, h2, h3 = _slopes(t, spacing, one)
            z_j, m_j, v_j = j * n_z, j * n_f, 3 * j * n_g
            slope = nothing
            # `row` is what stands before φ in the energy.
            for f in range(0, n_f, step):
                q = k * n_q + f
                phi = _four(s0, s1, s2, s3, w_kq, q, n_q)
                gi, gj = load(gm_af, m_i + f), load(gm_af, m_j + f)
                old = load(gz_aq, z_i + f)
                store(gz_aq, z_i + f, mad(phi, gj, old))
                old = load(gz_aq, z_j + f)
                store(gz_aq, z_j + f, mad(phi, gi, old))
                row = mul(load(z_aq, z_i + f), gj)
                row = mad(load(z_aq, z_j + f), gi, row)
                if wants_u:
                    slope = mad(_four(h0, h1, h2, h3, w_kq, q, n_q), row, slope)
                if wants_w:
                    _add_four(s0, s1, s2, s3, row, gw_kq, q, n_q)
            gx, gy, gz = nothing, nothing, nothing
            for g in range(0, n_g, step):
                q = k * n_q + n_f + g
                phi = _four(s0, s1, s2, s3, w_kq, q, n_q)
                at_0, at_1, at_2 = v_i + g, v_i + n_g + g, v_i + 2 * n_g + g
                to_0, to_1, to_2 = v_j + g, v_j + n_g + g, v_j + 2 * n_g + g
                i0, j0 = load(gv_axg, at_0), load(gv_axg, to_0)
                i1, j1 = load(gv_axg, at_1), load(gv_axg, to_1)
                i2, j2 = load(gv_axg, at_2), load(gv_axg, to_2)
                along_i = mad(x, i0, mad(y, i1, mul(z, i2)))
                along_j = mad(-x, j0, mad(-y, j1, mul(-z, j2)))
                b_i, b_j = z_i + n_f + g, z_j + n_f + g
                store(gz_aq, b_i, mad(phi, along_j, load(gz_aq, b_i)))
                store(gz_aq, b_j, mad(phi, along_i, load(gz_aq, b_j)))
                row = mul(load(z_aq, b_i), along_j)
                row = mad(load(z_aq, b_j), along_i, row)
                if wants_u:
                    sent = mul(phi, load(z_aq, b_j))
                    back = mul(-one, mul(phi, load(z_aq, b_i)))
                    gx = mad(sent, i0, mad(back, j0, gx))
                    gy = mad(sent, i1, mad(back, j1, gy))
                    gz = mad(sent, i2, mad(back, j2, gz))
                    slope = mad(_four(h0, h1, h2, h3, w_kq, q, n_q), row, slope)
                if wants_w:
                    _add_four(s0, s1, s2, s3, row, gw_kq, q, n_q)
                if n_c:
                    q += n_g
                    phi = _four(s0, s1, s2, s3, w_kq, q, n_q)
                    store(gc_axg, at_0, mad(phi, j0, load(gc_axg, at_0)))
                    store(gc_axg, at_1, mad(phi, j1, load(gc_axg, at_1)))
                    store(gc_axg, at_2, mad(phi, j2, load(gc_axg, at_2)))
                    store(gc_axg, to_0, mad(phi, i0, load(gc_axg, to_0)))
                    store(gc_axg, to_1, mad(phi, i1, load(gc_axg, to_1)))
                    store(gc_axg, to_2, mad(phi, i2, load(gc_axg, to_2)))
                    row = mul(load(c_axg, to_0), i0)
                    row = mad(load(c_axg, to_1), i1, row)
                    row = mad(load(c_axg, to_2), i2, row)
                    row = mad(load(c_axg, at_0), j0, row)
                    row = mad(load(c_axg, at_1), j1, row)
                    row = mad(load(c_axg, at_2), j2, row)
                    if wants_u:
                        slope = mad(_four(h0, h1, h2, h3, w_kq, q, n_q), row, slope)
                    if wants_w:
                        _add_four(s0, s1, s2, s3, row, gw_kq, q, n_q)
            if wants_u:
                # The splines are even in d, so the slope over d has a limit at d = 0, and the
                # product with u vanishes there.
                ratio = total(slope) / d if d > zero else zero
                gu_hx[h, 0] += total(gx) + ratio * x
                gu_hx[h, 1] += total(gy) + ratio * y
                gu_hx[h, 2] += total(gz) + ratio * z
