"""The two operations over pairs that an energy is made of, and what they are in plain torch.

`TorchPairs` is differentiable to any order and is the oracle that the fused operations, which
everything uses (`fused_pairs`), are tested against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.segments import segment_sum
from ase_continuousp.neighborlist import Neighbors


@dataclass(frozen=True)
class Graph:
    """A batch of crystals and its full neighbor list as tensors.

    Parameters
    ----------
    numbers : (n_atoms,) int64 tensor
    crystal_index : (n_atoms,) int64 tensor
    counts : (n_crystals,) tensor of the dtype of the network
    first : (n_atoms + 1,) int64 tensor
        Pairs of atom a are ``first[a]:first[a + 1]``.
    i, j : (n_pairs,) int64 tensors
        Center and neighbor.
    shifts : (n_pairs, 3) int32 tensor
        Cell offsets S of r_ij = r_j − r_i + S L.
    half : (n_chosen,) int64 tensor
        One of every two pairs (i, j, S) and (j, i, −S), sorted.
    half_first : (n_atoms + 1,) int64 tensor
        Chosen pairs of atom a are ``half[half_first[a]:half_first[a + 1]]``.
    lengths : (n_crystals,) float64 tensor, optional [Å]
        What stands for ℓ = (V/N)^(1/3) of the cells.
    """

    numbers: Tensor
    crystal_index: Tensor
    counts: Tensor
    first: Tensor
    i: Tensor
    j: Tensor
    shifts: Tensor
    half: Tensor
    half_first: Tensor
    lengths: Tensor | None = None

    @classmethod
    def of(
        cls, crystals: Crystals, neighbors: Neighbors, dtype: torch.dtype, device: torch.device
    ) -> Graph:
        """Return the tensors of a batch and its neighbors on a device."""

        def put(array: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        half_first, half = half_pairs(neighbors)
        return cls(
            numbers=put(crystals.numbers),
            crystal_index=put(crystals.crystal_index),
            counts=put(crystals.counts).to(dtype),
            first=put(neighbors.first),
            i=put(neighbors.i),
            j=put(neighbors.j),
            shifts=put(neighbors.S),
            half=put(half),
            half_first=put(half_first),
        )


def half_pairs(neighbors: Neighbors) -> tuple[Any, Any]:
    """Choose one of every two pairs (i, j, S) and (j, i, −S); return CSR offsets and the chosen.

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.neighborlist import search
    >>> cubic = Crystals.single([[0, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [84])
    >>> first, chosen = half_pairs(search(cubic, 1.1))
    >>> first.tolist(), len(chosen)
    ([0, 3], 3)
    """
    x, y, z = neighbors.S.T
    forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    is_chosen = (neighbors.j > neighbors.i) | ((neighbors.j == neighbors.i) & forward)
    running = np.zeros(neighbors.n_pairs + 1, np.int64)
    np.cumsum(is_chosen, out=running[1:])
    return running[neighbors.first], np.flatnonzero(is_chosen)


class PairOperations(Protocol):
    """What an energy needs of its pairs."""

    def vectors(self, graph: Graph, positions: Tensor, cells: Tensor, lengths: Tensor) -> Tensor:
        """Return u = (r_j − r_i + S L)/ℓ without unit, of the pairs that `messages` visits."""
        ...

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
        """Return m_i = Σ φ¹ a_j and v_i = Σ φ² b_j u + φ³ c_j.

        Parameters
        ----------
        graph : Graph
        vectors : (n, 3) tensor
            What `vectors` returned.
        scalars : (n_atoms, F) tensor a
        directed : (n_atoms, G) tensor b
        carried : (n_atoms, 3, G) or (n_atoms, 3, 0) tensor c
        filters : (n_intervals + 3, F + G + G or F + G) tensor
            Control points of the cubic B-splines φ(|u|).
        spacing : float
            Distance between knots, in units of ℓ.
        """
        ...


class TorchPairs:
    """Pair operations in plain torch, differentiable to any order; slow, the oracle."""

    def vectors(self, graph: Graph, positions: Tensor, cells: Tensor, lengths: Tensor) -> Tensor:
        """Return u = (r_j − r_i + S L)/ℓ."""
        b = graph.crystal_index[graph.i]
        shift = torch.einsum("py,pyx->px", graph.shifts.to(cells.dtype), cells[b])
        scaled = (positions[graph.j] - positions[graph.i] + shift) / lengths[b, None]
        return scaled.to(graph.counts.dtype)

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
        n_f, n_g = scalars.shape[1], directed.shape[1]
        phi = spline(safe_norm(vectors), filters, spacing)
        m = segment_sum(phi[:, :n_f] * scalars[graph.j], graph.i, graph.first)
        sent = (phi[:, n_f : n_f + n_g] * directed[graph.j])[:, None, :] * vectors[:, :, None]
        if carried.shape[2]:
            sent = sent + phi[:, None, n_f + n_g :] * carried[graph.j]
        return m, segment_sum(sent, graph.i, graph.first)


def spline(distances: Tensor, filters: Tensor, spacing: float) -> Tensor:
    """Return cubic B-splines at distances; zero from the last knot on.

    Parameters
    ----------
    distances : (n,) tensor
    filters : (n_intervals + 3, channels) tensor of control points
    spacing : float

    Returns
    -------
    (n, channels) tensor

    Examples
    --------
    >>> import torch
    >>> ones = torch.ones(7, 1)
    >>> spline(torch.tensor([0.0, 0.25, 0.5]), ones, 0.1).flatten().round(decimals=6).tolist()
    [1.0, 1.0, 0.0]
    """
    n_intervals = len(filters) - 3
    scaled = distances / spacing
    interval = scaled.detach().clamp(0, n_intervals - 1).long()
    t = (scaled - interval)[:, None]
    r = 1 - t
    s0, s3 = r**3 / 6, t**3 / 6
    s1 = (3 * t * t * (t - 2) + 4) / 6
    s2 = 1 - s0 - s1 - s3
    value = (
        s0 * filters[interval]
        + s1 * filters[interval + 1]
        + s2 * filters[interval + 2]
        + s3 * filters[interval + 3]
    )
    return torch.where((scaled < n_intervals)[:, None], value, torch.zeros_like(value))


def safe_norm(vectors: Tensor) -> Tensor:
    """Return lengths of vectors with the gradient at zero length set to zero.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 3, requires_grad=True)
    >>> safe_norm(x).sum().backward()
    >>> x.grad.tolist()
    [[0.0, 0.0, 0.0]]
    """
    squares = vectors.square().sum(1)
    is_zero = squares == 0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squares).sqrt())
