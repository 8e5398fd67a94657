"""One layer of the default energy as a single operation with a hand-written first derivative.

The same numbers as the plain layer in `continuous`; matrix products are torch's, everything
between them is a pass over rows (`_rows`) or pairs (`_kernels`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.model import _kernels, _rows
from ase_continuousp.model.pairs import Graph


class FusedLayer(torch.autograd.Function):
    """New scalars and vectors from pair vectors, scalars, vectors and parameters.

    Vectors are (n_atoms, 3, 0) before the first layer and after the last. `angle_w` holds the
    weights of `angles` and `turn`, `update_w` and `update_b` those of `update` and `gate`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        graph: Graph,
        spacing: float,
        epsilon: float,
        u: Tensor,
        s: Tensor,
        v: Tensor,
        gain: Tensor,
        send_w: Tensor,
        send_b: Tensor,
        filters: Tensor,
        carry_w: Tensor | None,
        angle_w: Tensor,
        mix_w: Tensor,
        mix_b: Tensor,
        mean_w: Tensor,
        update_w: Tensor,
        update_b: Tensor,
    ) -> Any:
        n_a, n_f = s.shape
        n_g = angle_w.shape[1]
        real = s.numpy().dtype.type
        crystal = graph.crystal_index.numpy()
        s, v = s.contiguous(), v.contiguous()
        x, r_n, mean = s.new_empty(n_a, 2 * n_f + n_g), s.new_empty(n_a), _sums(graph, s)
        _rows.norm(_np(s), _np(gain), real(epsilon), crystal, _np(x), _np(r_n), _np(mean))
        mean /= graph.counts[:, None]
        z = torch.addmm(send_b, x[:, n_f + n_g :], send_w.t())
        r_v, soft, c = s.new_empty(n_a), torch.empty_like(v), v
        if carry_w is not None:
            _rows.soften(_np(v), _np(r_v), _np(soft))
            c = (soft.view(-1, n_g) @ carry_w.t()).view(n_a, 3, n_g)
        m, sums = s.new_zeros(n_a, n_f), s.new_zeros(n_a, 3, n_g)
        filters = filters.contiguous()
        pairs = (graph.half_first.numpy(), graph.half.numpy(), graph.j.numpy())
        sent = (_np(u), _np(z), _np(c), _np(filters), real(spacing))
        _kernels.forward(*pairs, *sent, _np(m), _np(sums))
        w, r_w = torch.empty_like(sums), s.new_empty(n_a, 2)
        _rows.gate(_np(m), _np(sums), _np(z), _np(x), _np(w), _np(r_w))
        t = (w.view(-1, n_g) @ angle_w.t()).view(n_a, 3, -1)
        _rows.angle(_np(t), n_f, n_g, _np(x))
        h = torch.addmm(mix_b, x, mix_w.t())
        _rows.spread(_np(mean @ mean_w.t()), crystal, _np(h))
        y = torch.nn.functional.silu(h)
        d = torch.addmm(update_b, y, update_w.t())
        s_new, v_new = torch.empty_like(s), s.new_empty(n_a, 3, d.shape[1] - n_f)
        _rows.update(_np(s), _np(v), _np(d), _np(t), _np(s_new), _np(v_new))
        ctx.graph, ctx.spacing = graph, real(spacing)
        ctx.save_for_backward(
            u, s, v, gain, send_w, filters, carry_w, angle_w, mix_w, mean_w, update_w,
            x, r_n, mean, z, r_v, soft, c, m, sums, w, r_w, t, h, y, d,
        )  # fmt: skip
        return s_new, v_new

    @staticmethod
    def backward(ctx: Any, gs: Tensor, gv: Tensor) -> Any:
        (
            u, s, v, gain, send_w, filters, carry_w, angle_w, mix_w, mean_w, update_w,
            x, r_n, mean, z, r_v, soft, c, m, sums, w, r_w, t, h, y, d,
        ) = ctx.saved_tensors  # fmt: skip
        graph, needs = ctx.graph, ctx.needs_input_grad
        n_a, n_f = s.shape
        n_g = angle_w.shape[1]
        crystal = graph.crystal_index.numpy()
        gs, gv = gs.contiguous(), gv.contiguous()
        gd, gt = torch.empty_like(d), torch.empty_like(t)
        _rows.update_gradient(_np(gs), _np(gv), _np(d), _np(t), _np(gd), _np(gt))
        gh = torch.ops.aten.silu_backward(gd @ update_w, h)
        gsum = _sums(graph, s)
        _rows.gather(_np(gh), crystal, _np(gsum))
        gx = gh @ mix_w
        gmean = (gsum @ mean_w) / graph.counts[:, None]
        _rows.angle_gradient(_np(t), n_f, n_g, _np(gx), _np(gt))
        gw = gt.view(3 * n_a, -1) @ angle_w
        gm, gsums, gz = torch.empty_like(m), torch.empty_like(sums), torch.zeros_like(z)
        _rows.gate_gradient(
            _np(m), _np(sums), _np(z), _np(r_w), _np(gx), _np(gw), _np(gm), _np(gsums), _np(gz)
        )
        wants_u, wants_w = needs[3], needs[9]
        gu, gc, g_filters = torch.empty_like(u), torch.zeros_like(c), torch.zeros_like(filters)
        _kernels.backward(
            graph.half_first.numpy(), graph.half.numpy(), graph.j.numpy(),
            _np(u), _np(z), _np(c), _np(filters), ctx.spacing, _np(gm), _np(gsums),
            wants_u, wants_w, _np(gu), _np(gz), _np(gc), _np(g_filters),
        )  # fmt: skip
        gv_old = gv
        if carry_w is not None:
            gsoft, gv_old = gc.view(-1, n_g) @ carry_w, torch.empty_like(v)
            before = gv if gv.shape[2] else torch.zeros_like(v)
            _rows.soften_gradient(_np(v), _np(r_v), _np(gsoft), _np(before), _np(gv_old))
        gn, gs_old, g_gain = gz @ send_w, torch.empty_like(s), torch.zeros_like(gain)
        _rows.norm_gradient(
            _np(s), _np(gain), _np(r_n), crystal,
            _np(gn), _np(gx), _np(gmean), _np(gs), _np(gs_old), _np(g_gain),
        )  # fmt: skip
        made = (None, None, None, gu if wants_u else None, gs_old, gv_old if needs[5] else None)
        if not any(needs[6:]):
            return (*made, *[None] * 11)
        return (
            *made,
            g_gain,
            gz.t() @ x[:, n_f + n_g :],
            gz.sum(0),
            g_filters,
            None if carry_w is None else gc.view(-1, n_g).t() @ soft.view(-1, n_g),
            gt.view(3 * n_a, -1).t() @ w.view(-1, n_g),
            gh.t() @ x,
            gh.sum(0),
            gsum.t() @ mean,
            gd.t() @ y,
            gd.sum(0),
        )


def _sums(graph: Graph, like: Tensor) -> Tensor:
    return like.new_zeros(len(graph.counts), like.shape[1])


def _np(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().numpy()
