"""Fused passes over pairs in Numba: filter, gather, gate and reduce, with hand-written gradients.

Strategy: pairs lie sorted by their center (CSR), so every pass accumulates one atom's row and
writes it once; nothing of size pairs times channels ever exists. The radial filters are cubic
B-splines, of which four control points are alive at a distance. The gradient with respect to
what the *neighbors* send is gathered as well, not scattered: the list is full, so the pair
(j, i, -u) that carries i's contribution to j is known from (i, j, u).

Array names carry their axes: p pair, a atom, x Cartesian, f scalar channel, g vector channel,
k control point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Relaxed floating point lets sums over channels use vector lanes; NaN must still propagate, so
# "nnan" and "ninf" stay out.
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


@njit(cache=True, nogil=True, fastmath=_FAST)
def forward(
    first: Any,
    j_p: Any,
    u_px: Any,
    a_af: Any,
    b_ag: Any,
    c_axg: Any,
    w_kf: Any,
    spacing: Any,
    m_af: Any,
    v_axg: Any,
) -> None:
    """Add up m_i = Σ φ¹(d) a_j and v_i = Σ φ²(d) b_j u + φ³(d) c_j."""
    n_f, n_g, n_c = a_af.shape[1], b_ag.shape[1], c_axg.shape[2]
    n_intervals = w_kf.dtype.type(w_kf.shape[0] - 3)
    one = w_kf.dtype.type(1)
    for i in range(len(first) - 1):
        m_f = m_af[i]
        v0, v1, v2 = v_axg[i, 0], v_axg[i, 1], v_axg[i, 2]
        for p in range(first[i], first[i + 1]):
            x, y, z = u_px[p, 0], u_px[p, 1], u_px[p, 2]
            k, t = _knot(np.sqrt(x * x + y * y + z * z), spacing, n_intervals)
            if k < 0:
                if t != t:  # NaN shows in the result instead of vanishing
                    m_f[:] = t
                continue
            s0, s1, s2, s3 = _weights(t, one)
            w0, w1, w2, w3 = w_kf[k], w_kf[k + 1], w_kf[k + 2], w_kf[k + 3]
            j = j_p[p]
            a_f = a_af[j]
            for f in range(n_f):
                m_f[f] += (s0 * w0[f] + s1 * w1[f] + s2 * w2[f] + s3 * w3[f]) * a_f[f]
            b_g = b_ag[j]
            for g in range(n_g):
                q = n_f + g
                sent = (s0 * w0[q] + s1 * w1[q] + s2 * w2[q] + s3 * w3[q]) * b_g[g]
                v0[g] += sent * x
                v1[g] += sent * y
                v2[g] += sent * z
            c0, c1, c2 = c_axg[j, 0], c_axg[j, 1], c_axg[j, 2]
            for g in range(n_c):
                q = n_f + n_g + g
                phi = s0 * w0[q] + s1 * w1[q] + s2 * w2[q] + s3 * w3[q]
                v0[g] += phi * c0[g]
                v1[g] += phi * c1[g]
                v2[g] += phi * c2[g]


@njit(cache=True, nogil=True, fastmath=_FAST)
def backward(
    first: Any,
    j_p: Any,
    u_px: Any,
    a_af: Any,
    b_ag: Any,
    c_axg: Any,
    w_kf: Any,
    spacing: Any,
    gm_af: Any,
    gv_axg: Any,
    gu_px: Any,
    ga_af: Any,
    gb_ag: Any,
    gc_axg: Any,
) -> None:
    """Gradients with respect to pair vectors and to what the atoms send."""
    n_f, n_g, n_c = a_af.shape[1], b_ag.shape[1], c_axg.shape[2]
    n_intervals = w_kf.dtype.type(w_kf.shape[0] - 3)
    one = w_kf.dtype.type(1)
    zero = w_kf.dtype.type(0)
    for i in range(len(first) - 1):
        gm_i = gm_af[i]
        gv0, gv1, gv2 = gv_axg[i, 0], gv_axg[i, 1], gv_axg[i, 2]
        ga_f, gb_g = ga_af[i], gb_ag[i]
        gc0, gc1, gc2 = gc_axg[i, 0], gc_axg[i, 1], gc_axg[i, 2]
        for p in range(first[i], first[i + 1]):
            x, y, z = u_px[p, 0], u_px[p, 1], u_px[p, 2]
            d = np.sqrt(x * x + y * y + z * z)
            k, t = _knot(d, spacing, n_intervals)
            if k < 0:
                gu_px[p, 0] = zero
                gu_px[p, 1] = zero
                gu_px[p, 2] = zero
                continue
            s0, s1, s2, s3 = _weights(t, one)
            h0, h1, h2, h3 = _slopes(t, spacing, one)
            w0, w1, w2, w3 = w_kf[k], w_kf[k + 1], w_kf[k + 2], w_kf[k + 3]
            j = j_p[p]
            slope = zero
            a_f, gm_j = a_af[j], gm_af[j]
            for f in range(n_f):
                phi = s0 * w0[f] + s1 * w1[f] + s2 * w2[f] + s3 * w3[f]
                dphi = h0 * w0[f] + h1 * w1[f] + h2 * w2[f] + h3 * w3[f]
                ga_f[f] += phi * gm_j[f]
                slope += dphi * a_f[f] * gm_i[f]
            b_g = b_ag[j]
            gj0, gj1, gj2 = gv_axg[j, 0], gv_axg[j, 1], gv_axg[j, 2]
            gx, gy, gz = zero, zero, zero
            for g in range(n_g):
                q = n_f + g
                phi = s0 * w0[q] + s1 * w1[q] + s2 * w2[q] + s3 * w3[q]
                dphi = h0 * w0[q] + h1 * w1[q] + h2 * w2[q] + h3 * w3[q]
                sent = phi * b_g[g]
                gx += sent * gv0[g]
                gy += sent * gv1[g]
                gz += sent * gv2[g]
                slope += dphi * b_g[g] * (x * gv0[g] + y * gv1[g] + z * gv2[g])
                gb_g[g] -= phi * (x * gj0[g] + y * gj1[g] + z * gj2[g])
            c0, c1, c2 = c_axg[j, 0], c_axg[j, 1], c_axg[j, 2]
            for g in range(n_c):
                q = n_f + n_g + g
                phi = s0 * w0[q] + s1 * w1[q] + s2 * w2[q] + s3 * w3[q]
                dphi = h0 * w0[q] + h1 * w1[q] + h2 * w2[q] + h3 * w3[q]
                slope += dphi * (c0[g] * gv0[g] + c1[g] * gv1[g] + c2[g] * gv2[g])
                gc0[g] += phi * gj0[g]
                gc1[g] += phi * gj1[g]
                gc2[g] += phi * gj2[g]
            # The splines are even in d, so the slope over d has a limit at d = 0, and the
            # product with u vanishes there.
            if d > zero:
                slope /= d
            else:
                slope = zero
            gu_px[p, 0] = gx + slope * x
            gu_px[p, 1] = gy + slope * y
            gu_px[p, 2] = gz + slope * z


@njit(cache=True, nogil=True, fastmath=_FAST)
def filter_gradient(
    first: Any,
    j_p: Any,
    u_px: Any,
    a_af: Any,
    b_ag: Any,
    c_axg: Any,
    spacing: Any,
    gm_af: Any,
    gv_axg: Any,
    gw_kf: Any,
) -> None:
    """Gradient with respect to the control points of the splines, added to gw_kf."""
    n_f, n_g, n_c = a_af.shape[1], b_ag.shape[1], c_axg.shape[2]
    n_intervals = gw_kf.dtype.type(gw_kf.shape[0] - 3)
    one = gw_kf.dtype.type(1)
    row = np.empty(gw_kf.shape[1], gw_kf.dtype)
    for i in range(len(first) - 1):
        gm_f = gm_af[i]
        gv0, gv1, gv2 = gv_axg[i, 0], gv_axg[i, 1], gv_axg[i, 2]
        for p in range(first[i], first[i + 1]):
            x, y, z = u_px[p, 0], u_px[p, 1], u_px[p, 2]
            k, t = _knot(np.sqrt(x * x + y * y + z * z), spacing, n_intervals)
            if k < 0:
                continue
            j = j_p[p]
            a_f, b_g = a_af[j], b_ag[j]
            c0, c1, c2 = c_axg[j, 0], c_axg[j, 1], c_axg[j, 2]
            for f in range(n_f):
                row[f] = a_f[f] * gm_f[f]
            for g in range(n_g):
                row[n_f + g] = b_g[g] * (x * gv0[g] + y * gv1[g] + z * gv2[g])
            for g in range(n_c):
                row[n_f + n_g + g] = c0[g] * gv0[g] + c1[g] * gv1[g] + c2[g] * gv2[g]
            s0, s1, s2, s3 = _weights(t, one)
            w0, w1, w2, w3 = gw_kf[k], gw_kf[k + 1], gw_kf[k + 2], gw_kf[k + 3]
            for q in range(len(row)):
                w0[q] += s0 * row[q]
                w1[q] += s1 * row[q]
                w2[q] += s2 * row[q]
                w3[q] += s3 * row[q]


@njit(cache=True, nogil=True)
def pair_vectors(
    i_p: Any,
    j_p: Any,
    shift_px: Any,
    crystal_a: Any,
    r_ax: Any,
    cell_bxx: Any,
    length_b: Any,
    u_px: Any,
) -> None:
    """Write u = (r_j − r_i + S L) / ℓ, in double precision up to the last rounding."""
    for p in range(len(i_p)):
        i, j = i_p[p], j_p[p]
        b = crystal_a[i]
        for x in range(3):
            d = r_ax[j, x] - r_ax[i, x]
            for y in range(3):
                d += shift_px[p, y] * cell_bxx[b, y, x]
            u_px[p, x] = d / length_b[b]


@njit(cache=True, nogil=True)
def pair_vectors_gradient(
    i_p: Any,
    j_p: Any,
    shift_px: Any,
    crystal_a: Any,
    u_px: Any,
    length_b: Any,
    gu_px: Any,
    gr_ax: Any,
    gcell_bxx: Any,
    glength_b: Any,
) -> None:
    """Add the gradients of the pair vectors to those of positions, cells and lengths."""
    for p in range(len(i_p)):
        i, j = i_p[p], j_p[p]
        b = crystal_a[i]
        inverse = 1.0 / length_b[b]
        for x in range(3):
            g = gu_px[p, x] * inverse
            gr_ax[j, x] += g
            gr_ax[i, x] -= g
            glength_b[b] -= g * u_px[p, x]
            for y in range(3):
                gcell_bxx[b, y, x] += shift_px[p, y] * g
