"""One layer of the default energy as a single operation with a hand-written first derivative.

The same numbers as the plain layer in `continuous`; matrix products are torch's, everything
between them is a pass over rows (`_rows`) or pairs (`_kernels`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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
        u, s, v, gain = u.detach(), s.detach().contiguous(), v.detach().contiguous(), gain.detach()
        x, r_n, mean = s.new_empty(n_a, 2 * n_f + n_g), s.new_empty(n_a), _sums(graph, s)
        _rows.norm(
            s.numpy(), gain.numpy(), real(epsilon), crystal, x.numpy(), r_n.numpy(), mean.numpy()
        )
        mean /= graph.counts[:, None]
        z = torch.addmm(send_b, x[:, n_f + n_g :], send_w.t())
        r_v, soft, c = s.new_empty(n_a), torch.empty_like(v), v
        if carry_w is not None:
            _rows.soften(v.numpy(), r_v.numpy(), soft.numpy())
            c = (soft.view(-1, n_g) @ carry_w.t()).view(n_a, 3, n_g)
        m, sums = s.new_zeros(n_a, n_f), s.new_zeros(n_a, 3, n_g)
        filters = filters.detach().contiguous()
        pairs = (graph.half_first.numpy(), graph.half.numpy(), graph.j.numpy())
        sent = (u.numpy(), z.numpy(), c.numpy(), filters.numpy(), real(spacing))
        _kernels.forward(*pairs, *sent, m.numpy(), sums.numpy())
        w, r_w = torch.empty_like(sums), s.new_empty(n_a, 2)
        _rows.gate(m.numpy(), sums.numpy(), z.numpy(), x.numpy(), w.numpy(), r_w.numpy())
        t = (w.view(-1, n_g) @ angle_w.t()).view(n_a, 3, -1)
        _rows.angle(t.numpy(), n_f, n_g, x.numpy())
        h = torch.addmm(mix_b, x, mix_w.t())
        _rows.spread((mean @ mean_w.t()).numpy(), crystal, h.numpy())
        y = torch.nn.functional.silu(h)
        d = torch.addmm(update_b, y, update_w.t())
        s_new, v_new = torch.empty_like(s), s.new_empty(n_a, 3, d.shape[1] - n_f)
        _rows.update(s.numpy(), v.numpy(), d.numpy(), t.numpy(), s_new.numpy(), v_new.numpy())
        ctx.graph, ctx.spacing = graph, real(spacing)
        kept = (u, s, v, gain, filters, r_n, z, r_v, c, m, sums, r_w, t, d)
        ctx.arrays = tuple(tensor.numpy() for tensor in kept)
        ctx.save_for_backward(
            send_w, carry_w, angle_w, mix_w, mean_w, update_w, x, mean, soft, w, h, y
        )
        return s_new, v_new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gs: Tensor, gv: Tensor) -> Any:
        send_w, carry_w, angle_w, mix_w, mean_w, update_w, x, mean, soft, w, h, y = (
            ctx.saved_tensors
        )
        u, s, v, gain, filters, r_n, z, r_v, c, m, sums, r_w, t, d = ctx.arrays
        graph, needs = ctx.graph, ctx.needs_input_grad
        n_a, n_f = s.shape
        n_g = angle_w.shape[1]
        crystal = graph.crystal_index.numpy()
        gs, gv = gs.contiguous(), gv.contiguous()
        gd, gt = gs.new_empty(d.shape), gs.new_empty(t.shape)
        _rows.update_gradient(gs.numpy(), gv.numpy(), d, t, gd.numpy(), gt.numpy())
        gh = torch.ops.aten.silu_backward(gd @ update_w, h)
        gsum = _sums(graph, gs)
        _rows.gather(gh.numpy(), crystal, gsum.numpy())
        gx = gh @ mix_w
        gmean = (gsum @ mean_w) / graph.counts[:, None]
        _rows.angle_gradient(t, n_f, n_g, gx.numpy(), gt.numpy())
        gw = gt.view(3 * n_a, -1) @ angle_w
        gm, gsums, gz = gs.new_empty(m.shape), gs.new_empty(sums.shape), gs.new_zeros(z.shape)
        _rows.gate_gradient(
            m, sums, z, r_w, gx.numpy(), gw.numpy(), gm.numpy(), gsums.numpy(), gz.numpy()
        )
        wants_u, wants_w = needs[3], needs[9]
        gu, gc = gs.new_zeros(u.shape), gs.new_zeros(c.shape)
        g_filters = gs.new_zeros(filters.shape)
        _kernels.backward(
            graph.half_first.numpy(), graph.half.numpy(), graph.j.numpy(),
            u, z, c, filters, ctx.spacing, gm.numpy(), gsums.numpy(),
            wants_u, wants_w, gu.numpy(), gz.numpy(), gc.numpy(), g_filters.numpy(),
        )  # fmt: skip
        gv_old = gv
        if carry_w is not None:
            gsoft, gv_old = gc.view(-1, n_g) @ carry_w, gs.new_empty(v.shape)
            before = gv if gv.shape[2] else gs.new_zeros(v.shape)
            _rows.soften_gradient(v, r_v, gsoft.numpy(), before.numpy(), gv_old.numpy())
        gn, gs_old, g_gain = gz @ send_w, torch.empty_like(gs), gs.new_zeros(n_f)
        _rows.norm_gradient(
            s, gain, r_n, crystal,
            gn.numpy(), gx.numpy(), gmean.numpy(), gs.numpy(), gs_old.numpy(), g_gain.numpy(),
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
