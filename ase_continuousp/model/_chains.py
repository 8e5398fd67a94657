"""Passes over the rows of a block, one after the other, in one call: a call costs microseconds.

Arguments are fields of `_room.Block` and, of products, panels, bias and columns that go in pairs.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from ase_continuousp.model import _inference, _rows
from ase_continuousp.model._product import multiply

_jit = njit(cache=True, nogil=True)


@_jit
def before(
    s: Any, gain: Any, epsilon: Any, crystal: Any, x: Any, r_n: Any, means: Any, z: Any,
    send: Any, send_b: Any, send_2: Any, v: Any, r_v: Any, soft: Any, soft_flat: Any, c_flat: Any,
    carry: Any, carry_b: Any, carry_2: Any,
) -> None:  # fmt: skip
    """Go from what a layer begins with to what atoms send."""
    n_f, n_g = s.shape[1], soft_flat.shape[1]
    _rows.norm(s, gain, epsilon, crystal, x, r_n, means)
    multiply(x, n_f + n_g, n_f, send, send_b, z, send_2)
    if v.shape[2]:
        _rows.soften(v, r_v, soft)
        multiply(soft_flat, 0, n_g, carry, carry_b, c_flat, carry_2)


@_jit
def after(
    m: Any, sums: Any, z: Any, x: Any, w: Any, w_flat: Any, r_w: Any, t: Any, t_flat: Any,
    shared: Any, crystal: Any, h: Any, y: Any, s: Any, v: Any, d: Any, s_then: Any, v_then: Any,
    angle: Any, angle_b: Any, angle_2: Any, mix: Any, mix_b: Any, mix_2: Any, update: Any,
    update_b: Any, update_2: Any,
) -> None:  # fmt: skip
    """Go from what atoms received to what the next layer begins with."""
    n_f, n_g = s.shape[1], w.shape[2]
    _rows.gate(m, sums, z, x, w, r_w)
    multiply(w_flat, 0, n_g, angle, angle_b, t_flat, angle_2)
    _rows.angle(t, n_f, n_g, x)
    multiply(x, 0, x.shape[1], mix, mix_b, h, mix_2)
    _rows.spread(shared, crystal, h)
    _inference.silu(h, y)
    multiply(y, 0, n_f, update, update_b, d, update_2)
    _rows.update(s, v, d, t, s_then, v_then)


@_jit
def back_after(
    gs: Any, gv: Any, d: Any, t: Any, gd: Any, gt: Any, gt_flat: Any, h: Any, gh: Any,
    crystal: Any, shared: Any, x: Any, gw: Any, gw_flat: Any, m: Any, sums: Any, z: Any, r_w: Any,
    gm: Any, gsums: Any, gz: Any, update: Any, update_b: Any, update_2: Any, mix: Any, mix_b: Any,
    mix_2: Any, angle: Any, angle_b: Any, angle_2: Any,
) -> None:  # fmt: skip
    """Go back through `after`."""
    n_f, n_g = gh.shape[1], gw.shape[2]
    _rows.update_gradient(gs, gv, d, t, gd, gt)
    multiply(gd, 0, gd.shape[1], update, update_b, gh, update_2)
    _inference.silu_gradient(h, gh)
    _rows.gather(gh, crystal, shared)
    multiply(gh, 0, n_f, mix, mix_b, x, mix_2)  # from here on x is its gradient
    _rows.angle_gradient(t, n_f, n_g, x, gt)
    multiply(gt_flat, 0, gt_flat.shape[1], angle, angle_b, gw_flat, angle_2)
    for a in range(len(gz)):  # what pairs will add to
        for q in range(n_f + n_g):
            gz[a, q] = 0.0
    _rows.gate_gradient(m, sums, z, r_w, x, gw, gm, gsums, gz)


@_jit
def back_before(
    gc_flat: Any, soft_flat: Any, soft: Any, v: Any, r_v: Any, gv: Any, gz: Any, gn: Any, s: Any,
    gain: Any, r_n: Any, crystal: Any, x: Any, means: Any, gs: Any, gs_before: Any, ggain: Any,
    carry: Any, carry_b: Any, carry_2: Any, send: Any, send_b: Any, send_2: Any,
) -> None:  # fmt: skip
    """Go back through `before`."""
    if v.shape[2]:
        multiply(gc_flat, 0, gc_flat.shape[1], carry, carry_b, soft_flat, carry_2)
        _rows.soften_gradient(v, r_v, soft, gv, gv)
    multiply(gz, 0, gz.shape[1], send, send_b, gn, send_2)
    _rows.norm_gradient(s, gain, r_n, crystal, gn, x, means, gs, gs_before, ggain)
