"""Fused passes over the rows of atoms in Numba: everything of a layer between matrix products.

Forward passes are named after what they make; `..._gradient` is the derivative. Rows are whole
lanes (see `_lanes`). Array names carry their axes: a atom, b crystal, x Cartesian, f scalar
channel, g vector channel; z rows hold (a, b, gate, gate'), y rows what goes into `mix`
(m, q, n), t rows (p, q) and in all layers but the last what v turns by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ase_continuousp.model._lanes import N_BYTES, fill, load, mad, mul, store, total

_FAST = {"contract", "reassoc", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def norm(
    s_af: Any, gain_f: Any, epsilon: Any, crystal_a: Any, y_ay: Any, r_a: Any, sum_bf: Any
) -> None:
    """Write n = s r gain, r = 1/√(mean s² + ε), to the end of y; add it up over crystals."""
    n_f, n_y, step = s_af.shape[1], y_ay.shape[1], N_BYTES // s_af.itemsize
    one = s_af.dtype.type(1)
    for a in range(len(s_af)):
        s, y, b = a * n_f, (a + 1) * n_y - n_f, crystal_a[a] * n_f
        squares = fill(s_af.dtype.type(0))
        for f in range(0, n_f, step):
            value = load(s_af, s + f)
            squares = mad(value, value, squares)
        r = one / np.sqrt(total(squares) / s_af.dtype.type(n_f) + epsilon)
        r_a[a] = r
        for f in range(0, n_f, step):
            value = mul(r, mul(load(s_af, s + f), load(gain_f, f)))
            store(y_ay, y + f, value)
            store(sum_bf, b + f, mad(one, value, load(sum_bf, b + f)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def norm_gradient(
    s_af: Any,
    gain_f: Any,
    r_a: Any,
    crystal_a: Any,
    gn_af: Any,
    gy_ay: Any,
    gmean_bf: Any,
    gs_af: Any,
    made_af: Any,
    ggain_f: Any,
) -> None:
    """Write gs + that through the norm of gn + the end of gy + gmean; add that of the gain."""
    n_f, n_y, step = s_af.shape[1], gy_ay.shape[1], N_BYTES // s_af.itemsize
    one = s_af.dtype.type(1)
    for a in range(len(s_af)):
        s, y, b, r = a * n_f, (a + 1) * n_y - n_f, crystal_a[a] * n_f, r_a[a]
        dot = fill(s_af.dtype.type(0))
        for f in range(0, n_f, step):
            g = mad(one, load(gn_af, s + f), load(gy_ay, y + f))
            g = mad(one, g, load(gmean_bf, b + f))
            value = load(s_af, s + f)
            store(ggain_f, f, mad(mul(r, g), value, load(ggain_f, f)))
            g = mul(g, load(gain_f, f))
            store(made_af, s + f, g)
            dot = mad(g, value, dot)
        back = -r * r * r * total(dot) / s_af.dtype.type(n_f)
        for f in range(0, n_f, step):
            g = mad(r, load(made_af, s + f), load(gs_af, s + f))
            store(made_af, s + f, mad(back, load(s_af, s + f), g))


@njit(cache=True, nogil=True, fastmath=_FAST)
def soften(v_axg: Any, r_a: Any, made_axg: Any) -> None:
    """Write v r, r = 1/√(1 + mean |v|²)."""
    n_g, step = v_axg.shape[2], N_BYTES // v_axg.itemsize
    one = v_axg.dtype.type(1)
    for a in range(len(v_axg)):
        v = 3 * a * n_g
        r = one / np.sqrt(one + _square(v_axg, v, 3 * n_g) / v_axg.dtype.type(n_g))
        r_a[a] = r
        for g in range(0, 3 * n_g, step):
            store(made_axg, v + g, mul(r, load(v_axg, v + g)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def soften_gradient(v_axg: Any, r_a: Any, g_axg: Any, gv_axg: Any, made_axg: Any) -> None:
    """Write gv + that of v r."""
    n_g, step = v_axg.shape[2], N_BYTES // v_axg.itemsize
    for a in range(len(v_axg)):
        v, r = 3 * a * n_g, r_a[a]
        dot = fill(v_axg.dtype.type(0))
        for g in range(0, 3 * n_g, step):
            dot = mad(load(v_axg, v + g), load(g_axg, v + g), dot)
        back = -r * r * r * total(dot) / v_axg.dtype.type(n_g)
        for g in range(0, 3 * n_g, step):
            value = mad(r, load(g_axg, v + g), load(gv_axg, v + g))
            store(made_axg, v + g, mad(back, load(v_axg, v + g), value))


@njit(cache=True, nogil=True, fastmath=_FAST)
def gate(m_af: Any, v_axg: Any, z_az: Any, y_ay: Any, w_axg: Any, r_ar: Any) -> None:
    """Write soft(m) ⊙ gate to the beginning of y and w = soft(v) ⊙ gate'."""
    n_f, n_g, step = m_af.shape[1], v_axg.shape[2], N_BYTES // m_af.itemsize
    one = m_af.dtype.type(1)
    for a in range(len(m_af)):
        m, v, y = a * n_f, 3 * a * n_g, a * y_ay.shape[1]
        z = a * z_az.shape[1] + n_f + n_g
        r = one / np.sqrt(one + _square(m_af, m, n_f) / m_af.dtype.type(n_f))
        for f in range(0, n_f, step):
            store(y_ay, y + f, mul(r, mul(load(m_af, m + f), load(z_az, z + f))))
        r_ar[a, 0] = r
        r = one / np.sqrt(one + _square(v_axg, v, 3 * n_g) / m_af.dtype.type(n_g))
        for g in range(0, n_g, step):
            scale = mul(r, load(z_az, z + n_f + g))
            for at in range(v + g, v + 3 * n_g, n_g):
                store(w_axg, at, mul(scale, load(v_axg, at)))
        r_ar[a, 1] = r


@njit(cache=True, nogil=True, fastmath=_FAST)
def gate_gradient(
    m_af: Any,
    v_axg: Any,
    z_az: Any,
    r_ar: Any,
    gy_ay: Any,
    gw_axg: Any,
    gm_af: Any,
    gv_axg: Any,
    gz_az: Any,
) -> None:
    """Write the gradients of m, v and the gates."""
    n_f, n_g, step = m_af.shape[1], v_axg.shape[2], N_BYTES // m_af.itemsize
    nothing = fill(m_af.dtype.type(0))
    for a in range(len(m_af)):
        m, v, y = a * n_f, 3 * a * n_g, a * gy_ay.shape[1]
        z, r = a * z_az.shape[1] + n_f + n_g, r_ar[a, 0]
        dot = nothing
        for f in range(0, n_f, step):
            g = load(gy_ay, y + f)
            product = mul(g, load(m_af, m + f))
            store(gz_az, z + f, mul(r, product))
            dot = mad(product, load(z_az, z + f), dot)
        back = -r * r * r * total(dot) / m_af.dtype.type(n_f)
        for f in range(0, n_f, step):
            g = mul(r, mul(load(gy_ay, y + f), load(z_az, z + f)))
            store(gm_af, m + f, mad(back, load(m_af, m + f), g))
        z, r, dot = z + n_f, r_ar[a, 1], nothing
        for g in range(0, n_g, step):
            product = nothing
            for at in range(v + g, v + 3 * n_g, n_g):
                product = mad(load(v_axg, at), load(gw_axg, at), product)
            store(gz_az, z + g, mul(r, product))
            dot = mad(product, load(z_az, z + g), dot)
        back = -r * r * r * total(dot) / m_af.dtype.type(n_g)
        for g in range(0, n_g, step):
            scale = mul(r, load(z_az, z + g))
            for at in range(v + g, v + 3 * n_g, n_g):
                value = mul(scale, load(gw_axg, at))
                store(gv_axg, at, mad(back, load(v_axg, at), value))


@njit(cache=True, nogil=True, fastmath=_FAST)
def angle(t_axt: Any, n_f: int, n_g: int, y_ay: Any) -> None:
    """Write q = Σ_x p q to the middle of y."""
    n_t, step = t_axt.shape[2], N_BYTES // t_axt.itemsize
    for a in range(len(t_axt)):
        t, y = 3 * a * n_t, a * y_ay.shape[1] + n_f
        for g in range(0, n_g, step):
            value = fill(t_axt.dtype.type(0))
            for at in range(t + g, t + 3 * n_t, n_t):
                value = mad(load(t_axt, at), load(t_axt, at + n_g), value)
            store(y_ay, y + g, value)


@njit(cache=True, nogil=True, fastmath=_FAST)
def angle_gradient(t_axt: Any, n_f: int, n_g: int, gy_ay: Any, gt_axt: Any) -> None:
    """Write the gradients of p and q."""
    n_t, step = t_axt.shape[2], N_BYTES // t_axt.itemsize
    for a in range(len(t_axt)):
        t, y = 3 * a * n_t, a * gy_ay.shape[1] + n_f
        for g in range(0, n_g, step):
            value = load(gy_ay, y + g)
            for at in range(t + g, t + 3 * n_t, n_t):
                store(gt_axt, at, mul(value, load(t_axt, at + n_g)))
                store(gt_axt, at + n_g, mul(value, load(t_axt, at)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def spread(sum_bf: Any, crystal_a: Any, h_af: Any) -> None:
    """Add the row of its crystal to that of each atom."""
    n_f, step, one = h_af.shape[1], N_BYTES // h_af.itemsize, h_af.dtype.type(1)
    for a in range(len(h_af)):
        h, b = a * n_f, crystal_a[a] * n_f
        for f in range(0, n_f, step):
            store(h_af, h + f, mad(one, load(sum_bf, b + f), load(h_af, h + f)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def gather(h_af: Any, crystal_a: Any, sum_bf: Any) -> None:
    """Add the row of each atom to that of its crystal."""
    n_f, step, one = h_af.shape[1], N_BYTES // h_af.itemsize, h_af.dtype.type(1)
    for a in range(len(h_af)):
        h, b = a * n_f, crystal_a[a] * n_f
        for f in range(0, n_f, step):
            store(sum_bf, b + f, mad(one, load(h_af, h + f), load(sum_bf, b + f)))


@njit(cache=True, nogil=True, fastmath=_FAST)
def update(s_af: Any, v_axg: Any, d_ad: Any, t_axt: Any, s_new_af: Any, v_new_axg: Any) -> None:
    """Write s + the beginning of d and v + the end of t ⊙ that of d; v may be empty, for zero."""
    n_f, n_g, n_t, n_d = s_af.shape[1], v_new_axg.shape[2], t_axt.shape[2], d_ad.shape[1]
    step, one = N_BYTES // s_af.itemsize, s_af.dtype.type(1)
    for a in range(len(s_af)):
        s, d = a * n_f, a * n_d
        for f in range(0, n_f, step):
            store(s_new_af, s + f, mad(one, load(s_af, s + f), load(d_ad, d + f)))
        for g in range(0, n_g, step):
            scale = load(d_ad, d + n_f + g)
            for x in range(3 * a, 3 * a + 3):
                turned = mul(scale, load(t_axt, (x + 1) * n_t - n_g + g))
                if v_axg.shape[2]:
                    turned = mad(one, turned, load(v_axg, x * n_g + g))
                store(v_new_axg, x * n_g + g, turned)


@njit(cache=True, nogil=True, fastmath=_FAST)
def update_gradient(
    gs_af: Any, gv_axg: Any, d_ad: Any, t_axt: Any, gd_ad: Any, gt_axt: Any
) -> None:
    """Write the gradients of d and of the end of t."""
    n_f, n_g, n_t, n_d = gs_af.shape[1], gv_axg.shape[2], t_axt.shape[2], d_ad.shape[1]
    step = N_BYTES // gs_af.itemsize
    for a in range(len(gs_af)):
        s, d = a * n_f, a * n_d
        for f in range(0, n_f, step):
            store(gd_ad, d + f, load(gs_af, s + f))
        for g in range(0, n_g, step):
            scale, product = load(d_ad, d + n_f + g), fill(gs_af.dtype.type(0))
            for x in range(3 * a, 3 * a + 3):
                value, t = load(gv_axg, x * n_g + g), (x + 1) * n_t - n_g + g
                product = mad(value, load(t_axt, t), product)
                store(gt_axt, t, mul(value, scale))
            store(gd_ad, d + n_f + g, product)


@njit(cache=True, nogil=True, inline="always")
def _square(array: Any, at: Any, n: Any) -> Any:
    """Sum of squares of n numbers."""
    squares = fill(array.dtype.type(0))
    for k in range(at, at + n, N_BYTES // array.itemsize):
        squares = mad(load(array, k), load(array, k), squares)
    return total(squares)
