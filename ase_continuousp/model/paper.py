"""The energy of the paper: a modified CGCNN with smooth cutoff (the reference configuration)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ase_continuousp.model.continuous import MAX_NUMBER, crystal_lengths, crystal_means
from ase_continuousp.model.pairs import Graph, PairOperations, TorchPairs, safe_norm
from ase_continuousp.model.segments import segment_sum


class PaperEnergy(nn.Module):
    """Energy of ContinuouSP as published (Tone et al. 2025, arXiv:2502.02026).

    With cutoff R = κ ℓ, edge weight w(d) = ½ (cos(π d/R) + 1) and Gaussians e(d)::

        h_i⁰ = tanh(embedding(Z_i))
        z_ij = (W₁ h_i + W₂ h_j) ⊙ (W₃ e(d_ij) + b),   z = (z′, z″)
        h_i ← softplus(h_i + tanh(Σ_j w(d_ij) σ(z′_ij) ⊙ z″_ij))
        E/N = MLP(mean_i h_i) + λ (log ρ/ρ₀)²

    with a spectrally normalized MLP of softplus layers, ρ = N/V and ρ₀ = 0.05 Å⁻³. The paper
    counts one energy per crystal; here it is counted per atom, so that U = N · (E/N) is
    extensive and forces do not depend on the supercell. The distance has a kink where two atoms
    coincide: the energy is continuous there, its gradient is taken as zero.

    Parameters
    ----------
    channels : int
    n_layers : int
    n_dense : int
        Layers of the readout before the last.
    cutoff_ratio : float
        κ.
    n_basis : int
        Gaussians from 0 to 20 Å, as wide as three spacings.
    density_weight, density : float
        λ and ρ₀ [Å⁻³].

    Examples
    --------
    >>> PaperEnergy().cutoff_ratio
    3.0
    """

    kind = "paper"

    def __init__(
        self,
        *,
        channels: int = 64,
        n_layers: int = 3,
        n_dense: int = 2,
        cutoff_ratio: float = 3.0,
        n_basis: int = 32,
        density_weight: float = 1.0,
        density: float = 0.05,
    ) -> None:
        super().__init__()
        self.hyperparameters: dict[str, Any] = {
            "channels": channels,
            "n_layers": n_layers,
            "n_dense": n_dense,
            "cutoff_ratio": cutoff_ratio,
            "n_basis": n_basis,
            "density_weight": density_weight,
            "density": density,
        }
        self.cutoff_ratio = cutoff_ratio
        self.density_weight = density_weight
        self.density = density
        self.pairs: PairOperations = TorchPairs()
        self.embedding = nn.Embedding(MAX_NUMBER + 1, channels)
        self.layers = nn.ModuleList(_Convolution(channels, n_basis) for _ in range(n_layers))
        dense: list[nn.Module] = []
        for _ in range(n_dense):
            dense += [nn.utils.parametrizations.spectral_norm(nn.Linear(channels, channels))]
            dense += [nn.Softplus()]
        self.readout = nn.Sequential(*dense, nn.Linear(channels, 1))
        self.register_buffer(
            "centers", torch.linspace(0.0, 20.0, n_basis, dtype=torch.float64), persistent=False
        )

    def atomic_energies(self, graph: Graph, positions: Tensor, cells: Tensor) -> Tensor:
        """Return the energy of each atom: the energy of its crystal over its atoms, (n_atoms,)."""
        dtype = self.embedding.weight.dtype
        lengths = crystal_lengths(graph, cells)
        u = self.pairs.vectors(graph, positions, cells, lengths)
        scaled = safe_norm(u)
        weight = 0.5 * (torch.cos(math.pi * scaled / self.cutoff_ratio) + 1.0)
        weight = torch.where(scaled < self.cutoff_ratio, weight, 0.0)[:, None]
        distances = scaled * lengths[graph.crystal_index[graph.i]].to(dtype)
        centers: Tensor = self.centers  # type: ignore[assignment]
        width = 3.0 * (centers[1] - centers[0]).to(dtype)
        e = torch.exp(-(((distances[:, None] - centers.to(dtype)) / width) ** 2))
        h = torch.tanh(self.embedding(graph.numbers))
        for layer in self.layers:
            h = layer(graph, h, e, weight)
        per_crystal = self.readout(crystal_means(graph, h))[:, 0]
        log_density = -3.0 * lengths.log() - math.log(self.density)
        per_crystal = per_crystal + (self.density_weight * log_density**2).to(dtype)
        energies: Tensor = per_crystal[graph.crystal_index]
        return energies


class _Convolution(nn.Module):
    def __init__(self, channels: int, n_basis: int) -> None:
        super().__init__()
        self.center = nn.Linear(channels, 2 * channels, bias=False)
        self.neighbor = nn.Linear(channels, 2 * channels, bias=False)
        self.filter = nn.Linear(n_basis, 2 * channels)

    def forward(self, graph: Graph, h: Tensor, e: Tensor, weight: Tensor) -> Tensor:
        ends = self.center(h)[graph.i] + self.neighbor(h)[graph.j]
        gate, value = (ends * self.filter(e)).chunk(2, dim=1)
        messages = weight * torch.sigmoid(gate) * value
        summed = segment_sum(messages, graph.i, graph.first)
        return nn.functional.softplus(h + torch.tanh(summed))
