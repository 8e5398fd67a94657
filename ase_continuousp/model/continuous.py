"""The default energy: an equivariant message-passing network that is exactly invariant and smooth.

Every length enters as a multiple of ℓ = (V/N)^(1/3), the cutoff R = κℓ included; ℓ itself enters
as a feature of the atoms. The energy is therefore a function of the infinite crystal alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ase_continuousp.model._lanes import N_BYTES
from ase_continuousp.model._layer import FusedLayer
from ase_continuousp.model.basis import filter_matrix, log_length_features
from ase_continuousp.model.fused_pairs import FusedPairs
from ase_continuousp.model.pairs import Graph, PairOperations, TorchPairs

MAX_NUMBER = 103


class ContinuousEnergy(nn.Module):
    """Sum of atomic energies of an equivariant network with smooth, density-scaled cutoff.

    With scalars s_i, vectors v_i, u_ij = r_ij/ℓ and d = |u_ij| (units of ℓ), one layer is::

        n = norm(s)
        m_i = g(n_i) ⊙ soft(Σ_j φ¹(d) ⊙ a(n_j))
        w_i = g'(n_i) ⊙ soft(Σ_j [φ²(d) ⊙ b(n_j) u_ij + φ³(d) ⊙ (C soft(v_j))])
        q_i = (P w_i) · (Q w_i)
        y_i = silu(W [m_i, q_i, n_i, mean(n)])
        s_i ← s_i + W' y_i,    v_i ← v_i + (W'' y_i) ⊙ (M w_i)

    with linear g, g', a, b and soft(x) = x/√(1 + mean x²), which bounds what crowded atoms send
    on and keeps training stable. The filters φ are cubic B-splines in d whose control points are
    Gaussians times a cutoff envelope: twice continuously differentiable, even in d (so that two
    atoms may pass through each other) and zero with slope and curvature at the cutoff. The
    mean runs over the atoms of the crystal, so the result is the same for every supercell.
    U = Σ_i ε(s_i). Extends the energy of ContinuouSP (Tone et al. 2025, arXiv:2502.02026) by
    vector messages.

    Parameters
    ----------
    channels, vector_channels : int
        Number of scalars and of vectors per atom.
    n_layers : int
    cutoff_ratio : float
        κ = R/ℓ.
    n_basis : int
        Gaussians per filter.
    n_intervals : int
        Pieces of the splines between 0 and the cutoff.

    Examples
    --------
    >>> energy = ContinuousEnergy(channels=8, vector_channels=4, n_layers=2)
    >>> energy.cutoff_ratio
    1.8
    """

    kind = "continuous"

    def __init__(
        self,
        *,
        channels: int = 64,
        vector_channels: int = 32,
        n_layers: int = 3,
        cutoff_ratio: float = 1.8,
        n_basis: int = 18,
        n_intervals: int = 32,
    ) -> None:
        super().__init__()
        self.cutoff_ratio = cutoff_ratio
        self.hyperparameters: dict[str, Any] = {
            "channels": channels,
            "vector_channels": vector_channels,
            "n_layers": n_layers,
            "cutoff_ratio": cutoff_ratio,
            "n_basis": n_basis,
            "n_intervals": n_intervals,
        }
        self.spacing = cutoff_ratio / n_intervals
        self.pairs: PairOperations = FusedPairs()
        self.embedding = nn.Embedding(MAX_NUMBER + 1, channels)
        self.length = nn.Linear(12, channels, bias=False)
        self.layers = nn.ModuleList(
            _Layer(channels, vector_channels, n_basis, carries=k > 0, is_last=k == n_layers - 1)
            for k in range(n_layers)
        )
        self.norm = nn.RMSNorm(channels, eps=1e-3)
        self.readout = nn.Sequential(
            nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1)
        )
        self.register_buffer(
            "filter_matrix", filter_matrix(cutoff_ratio, n_basis, n_intervals), persistent=False
        )

    def atomic_energies(self, graph: Graph, positions: Tensor, cells: Tensor) -> Tensor:
        """Return the energy of each atom.

        Parameters
        ----------
        graph : Graph
        positions : (n_atoms, 3) float64 tensor [Å]
        cells : (n_crystals, 3, 3) float64 tensor [Å]

        Returns
        -------
        (n_atoms,) tensor, dimensionless
        """
        return self._energies(graph, positions, cells, None)

    def _energies(
        self, graph: Graph, positions: Tensor, cells: Tensor, features: Tensor | None
    ) -> Tensor:
        """Return the energy of each atom, given further features of the crystals, if any."""
        dtype = self.embedding.weight.dtype
        # The fused operations are for memory of the host.
        pairs = self.pairs if positions.device.type == "cpu" else TorchPairs()
        lengths = crystal_lengths(graph, cells)
        u = pairs.vectors(graph, positions, cells, lengths)
        s = self.embedding(graph.numbers)
        of_crystals = self.length(log_length_features(lengths).to(dtype))
        if features is not None:
            of_crystals = of_crystals + features
        s = s + of_crystals[graph.crystal_index]
        v = s.new_zeros((len(s), 3, 0))
        matrix: Tensor = self.filter_matrix  # type: ignore[assignment]
        is_fused = isinstance(pairs, FusedPairs) and self.fills_lanes()
        for layer in self.layers:
            if is_fused:
                s, v = layer.fused(  # type: ignore[operator]
                    graph, u, s, v, matrix.to(dtype), self.spacing
                )
            else:
                s, v = layer(pairs, graph, u, s, v, matrix.to(dtype), self.spacing)
        energies: Tensor = self.readout(self.norm(s))[:, 0]
        return energies

    def fills_lanes(self) -> bool:
        """Tell whether scalars and vectors of an atom are whole lanes (see `_lanes`)."""
        dtype = self.embedding.weight.dtype
        sizes = (self.hyperparameters[name] for name in ("channels", "vector_channels"))
        return all(size * dtype.itemsize % N_BYTES == 0 for size in sizes)


class _Layer(nn.Module):
    def __init__(
        self, channels: int, vectors: int, n_basis: int, *, carries: bool, is_last: bool
    ) -> None:
        super().__init__()
        self.sizes = [channels, vectors, channels, vectors]
        self.norm = nn.RMSNorm(channels, eps=1e-3)
        self.send = nn.Linear(channels, sum(self.sizes))
        width = channels + vectors * (2 if carries else 1)
        # About 24 neighbors send: their sum should come out of order one.
        self.filters = nn.Parameter(torch.randn(n_basis, width) * 0.2)
        self.carry = nn.Linear(vectors, vectors, bias=False) if carries else None
        self.angles = nn.Linear(vectors, 2 * vectors, bias=False)
        self.mix = nn.Linear(2 * channels + vectors, channels)
        self.mix_mean = nn.Linear(channels, channels, bias=False)
        self.update = nn.Linear(channels, channels)
        self.gate = None if is_last else nn.Linear(channels, vectors)
        self.turn = None if is_last else nn.Linear(vectors, vectors, bias=False)

    def forward(
        self,
        pairs: PairOperations,
        graph: Graph,
        u: Tensor,
        s: Tensor,
        v: Tensor,
        matrix: Tensor,
        spacing: float,
    ) -> tuple[Tensor, Tensor]:
        n = self.norm(s)
        a, b, gate, gate_v = self.send(n).split(self.sizes, dim=1)
        c = self.carry(soft_norm(v, (1, 2), 3)) if self.carry is not None else v[:, :, :0]
        m, w = pairs.messages(graph, u, a, b, c, matrix @ self.filters, spacing)
        m = soft_norm(m, (1,), 1)
        w = soft_norm(w, (1, 2), 3) * gate_v[:, None, :]
        p, q = self.angles(w).chunk(2, dim=2)
        mean = self.mix_mean(crystal_means(graph, n))[graph.crystal_index]
        y = nn.functional.silu(self.mix(torch.cat([m * gate, (p * q).sum(1), n], dim=1)) + mean)
        s = s + self.update(y)
        if self.gate is not None and self.turn is not None:
            turned = self.turn(w) * self.gate(y)[:, None, :]
            v = turned if v.shape[2] == 0 else v + turned
        return s, v

    def fused(
        self, graph: Graph, u: Tensor, s: Tensor, v: Tensor, matrix: Tensor, spacing: float
    ) -> tuple[Tensor, Tensor]:
        """Return the same by fewer passes over memory, differentiable once."""
        angle_w: Tensor = self.angles.weight
        update_w: Tensor = self.update.weight
        update_b: Tensor = self.update.bias
        if self.gate is not None and self.turn is not None:
            angle_w = torch.cat([angle_w, self.turn.weight])
            update_w = torch.cat([update_w, self.gate.weight])
            update_b = torch.cat([update_b, self.gate.bias])
        made: tuple[Tensor, Tensor] = FusedLayer.apply(  # type: ignore[no-untyped-call]
            graph, spacing, self.norm.eps, u, s, v, self.norm.weight,
            self.send.weight, self.send.bias, matrix @ self.filters,
            None if self.carry is None else self.carry.weight, angle_w,
            self.mix.weight, self.mix.bias, self.mix_mean.weight, update_w, update_b,
        )  # fmt: skip
        return made


def soft_norm(values: Tensor, axes: tuple[int, ...], components: int) -> Tensor:
    """Return x/√(1 + mean x²): smooth, nearly linear below one and bounded above.

    Parameters
    ----------
    values : tensor
    axes : tuple of int
        Averaged over.
    components : int
        Of one value: 3 for vectors, whose mean square is that of their lengths.

    Examples
    --------
    >>> import torch
    >>> round(float(soft_norm(torch.full((1, 4), 1e6), (1,), 1)[0, 0]), 4)
    1.0
    """
    return values * torch.rsqrt(1.0 + components * values.square().mean(axes, keepdim=True))


def crystal_lengths(graph: Graph, cells: Tensor) -> Tensor:
    """Return ℓ = (V/N)^(1/3) of each crystal [Å], differentiable in the cells, unless given."""
    if graph.lengths is not None:
        return graph.lengths
    a, b, c = cells.unbind(1)
    volumes = (a * torch.linalg.cross(b, c)).sum(1).abs()
    lengths: Tensor = (volumes / graph.counts.to(volumes.dtype)) ** (1 / 3)
    return lengths


def crystal_means(graph: Graph, values: Tensor) -> Tensor:
    """Return the mean over the atoms of each crystal, (n_crystals, channels)."""
    sums = values.new_zeros((len(graph.counts), values.shape[1]))
    return sums.index_add(0, graph.crystal_index, values) / graph.counts[:, None]
