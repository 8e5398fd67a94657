"""The operations over pairs as Numba kernels with a hand-written first derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_continuousp.model import _geometry, _kernels
from ase_continuousp.model._lanes import N_BYTES
from ase_continuousp.model.pairs import Graph

# The largest block that glibc learns from is 32 MiB, with its own header.
_KEPT_BYTES = 31 << 20


class FusedPairs:
    """Pair operations as Numba kernels on the CPU, differentiable once; visits `Graph.half`."""

    def __init__(self) -> None:
        # glibc hands freed memory back to the system unless it has seen a larger block freed;
        # getting it back in each evaluation costs more than a tenth of the time. Nothing is
        # written here, so this takes no memory; elsewhere it does nothing.
        torch.empty(_KEPT_BYTES, dtype=torch.uint8)

    def vectors(self, graph: Graph, positions: Tensor, cells: Tensor, lengths: Tensor) -> Tensor:
        """Return u = (r_j − r_i + S L)/ℓ."""
        made: Tensor = _Vectors.apply(positions, cells, lengths, graph)  # type: ignore[no-untyped-call]
        return made

    def messages(
        self,
        graph: Graph,
        vectors: Tensor,
        scalars: Tensor,
        directed: Tensor,
        carried: Tensor,
        filters: Tensor,
        spacing: float,
    ) -> tuple[Tensor, Tensor]:
        """Return scalar and vector messages."""
        apply = _Messages.apply
        m, v = apply(vectors, scalars, directed, carried, filters, graph, spacing)  # type: ignore[no-untyped-call]
        return m, v


class _Vectors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, cells: Tensor, lengths: Tensor, graph: Graph
    ) -> Tensor:
        u = torch.empty((len(graph.half), 3), dtype=graph.counts.dtype)
        ctx.graph = graph
        ctx.shapes = positions.shape, cells.shape
        _geometry.pair_vectors(
            *_geometric(graph),
            _array(positions), _array(cells), _array(lengths), u.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(u, lengths)
        return u

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        u, lengths = ctx.saved_tensors
        graph = ctx.graph
        positions, cells = (lengths.new_zeros(shape) for shape in ctx.shapes)
        scale = torch.zeros_like(lengths)
        _geometry.pair_vectors_gradient(
            *_geometric(graph),
            u.numpy(), _array(lengths), _array(gradient),
            positions.numpy(), cells.numpy(), scale.numpy(),
        )  # fmt: skip
        return positions, cells, scale, None


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        scalars: Tensor,
        directed: Tensor,
        carried: Tensor,
        filters: Tensor,
        graph: Graph,
        spacing: float,
    ) -> Any:
        n_f, n_g = ctx.widths = scalars.shape[1], directed.shape[1]
        sent = torch.cat([_padded(scalars), _padded(directed)], dim=1)
        parts = filters.split([n_f, n_g, carried.shape[2]], dim=1)
        padded_filters = torch.cat([_padded(part) for part in parts], dim=1)
        inputs = tuple(t.contiguous() for t in (vectors, sent, _padded(carried), padded_filters))
        m = torch.zeros_like(_padded(scalars))
        v = scalars.new_zeros((len(scalars), 3, sent.shape[1] - m.shape[1]))
        arrays = [_array(t) for t in inputs]
        ctx.spacing = arrays[-1].dtype.type(spacing)
        ctx.graph = graph
        ctx.save_for_backward(*inputs)
        _kernels.forward(*_chosen(graph), *arrays, ctx.spacing, m.numpy(), v.numpy())
        return m[:, :n_f], v[:, :, :n_g]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_m: Tensor, grad_v: Tensor) -> Any:
        n_f, n_g = ctx.widths
        inputs = [_array(t) for t in ctx.saved_tensors]
        made = [torch.zeros_like(t) for t in ctx.saved_tensors]
        wants_u, wants_w = ctx.needs_input_grad[0], ctx.needs_input_grad[4]
        gm, gv = _padded(grad_m), _padded(grad_v)
        _kernels.backward(
            *_chosen(ctx.graph), *inputs, ctx.spacing, _array(gm), _array(gv), wants_u, wants_w,
            *(t.numpy() for t in made),
        )  # fmt: skip
        g_vectors, g_sent, g_carried, g_filters = made
        g_scalars, g_directed = g_sent.split([gm.shape[1], gv.shape[2]], dim=1)
        parts = g_filters.split([gm.shape[1], gv.shape[2], g_carried.shape[2]], dim=1)
        n_c = n_g if g_carried.shape[2] else 0
        kept = [part[:, :n] for part, n in zip(parts, (n_f, n_g, n_c), strict=True)]
        return (
            g_vectors if wants_u else None,
            g_scalars[:, :n_f],
            g_directed[:, :n_g],
            g_carried[:, :, :n_c],
            torch.cat(kept, dim=1) if wants_w else None,
            None,
            None,
        )


def _geometric(graph: Graph) -> Any:
    arrays = (graph.half, graph.i, graph.j, graph.shifts, graph.crystal_index)
    return tuple(t.numpy() for t in arrays)


def _chosen(graph: Graph) -> Any:
    return tuple(t.numpy() for t in (graph.half_first, graph.half, graph.j))


def _padded(tensor: Tensor) -> Tensor:
    """Fill rows with zeros up to whole lanes."""
    missing = -tensor.shape[-1] % (N_BYTES // tensor.element_size())
    return torch.nn.functional.pad(tensor, (0, missing)) if missing else tensor


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
