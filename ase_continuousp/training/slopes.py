"""Gradients of losses on the derivatives of an energy, without second derivatives.

With v = ∂loss/∂(∂U/∂x), ∇θ loss = ∇θ (v · ∂U/∂x) ≈ ∇θ [U(x + hv) − U(x − hv)]/2h.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.lattice import symmetric_exponential
from ase_continuousp.model.derivatives import differentiate
from ase_continuousp.model.pairs import Graph
from ase_continuousp.neighborlist import Neighbors, search

Floats = NDArray[np.float64]
# Displacement of the central difference, in units of ℓ: the gradient of the loss agrees with
# double backward to four digits from 0.0005 to 0.01 in float32.
_STEP = 0.004
# Pairs beyond the cutoff that the displaced crystals may need.
_SKIN = 0.04
_CPU = torch.device("cpu")


def first_derivatives(
    network: Any, energy: Any, crystals: Crystals, dtype: torch.dtype
) -> tuple[Floats, Floats]:
    """Return ∂U/∂r and ∂U/∂ε of a batch, leaving the gradients of parameters alone.

    Parameters
    ----------
    network : Network
        Whose parameters are trained.
    energy : Network
        The energy of this batch: the network, or the network at the levels of these crystals.
    crystals : Crystals
    dtype : torch.dtype
        Of the network.

    Returns
    -------
    gradient : (n_atoms, 3) array [1/Å]
    virial : (n_crystals, 3, 3) array
    """
    graph = Graph.of(crystals, _search(network, crystals), dtype, _CPU)
    wanted = [p for p in network.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        _, gradient, virial = differentiate(
            energy, graph, torch.from_numpy(crystals.positions), torch.from_numpy(crystals.cells)
        )
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
    return gradient, virial


def add_slope(
    network: Any,
    energy: Any,
    crystals: Crystals,
    moves: Floats,
    strains: Floats,
    dtype: torch.dtype,
    *,
    scale: float = 1.0,
) -> None:
    """Add ∇θ (v · ∂U/∂x) to the gradients of the parameters.

    Parameters
    ----------
    network : Network
    energy : Network
        The energy of a batch that holds all crystals twice.
    crystals : Crystals
    moves : (n_atoms, 3) array
        v of positions.
    strains : (n_crystals, 3, 3) array
        v of strains.
    dtype : torch.dtype
    scale : float
        Factor on the gradient.
    """
    index = crystals.crystal_index
    largest = np.maximum(
        np.maximum.reduceat(np.linalg.norm(moves, axis=1), crystals.offsets[:-1])
        / crystals.lengths,
        np.linalg.norm(strains, axis=(1, 2)),
    )
    steps = _STEP / np.maximum(largest, 1e-30)
    both = []
    for sign in (1.0, -1.0):
        h = sign * steps
        stretch = symmetric_exponential(h[:, None, None] * strains)
        positions = crystals.positions + h[index, None] * moves
        positions = np.einsum("ax,axy->ay", positions, stretch[index])
        both.append(
            Crystals(positions, crystals.cells @ stretch, crystals.numbers, crystals.offsets)
        )
    doubled = Crystals.concatenate(both)
    neighbors = _search(network, crystals)
    graph = Graph.of(doubled, _twice(neighbors, crystals.n_atoms), dtype, _CPU)
    weights = np.concatenate([steps, -steps])[doubled.crystal_index]
    weights = 0.5 * scale / weights
    energies = energy.atomic_energies(
        graph, torch.from_numpy(doubled.positions), torch.from_numpy(doubled.cells)
    )
    (energies * torch.from_numpy(weights).to(energies.dtype)).sum().backward()


def _search(network: Any, crystals: Crystals) -> Neighbors:
    return search(crystals, (network.cutoff_ratio + _SKIN) * crystals.lengths)


def _twice(neighbors: Neighbors, n_atoms: int) -> Neighbors:
    return Neighbors(
        i=np.concatenate([neighbors.i, neighbors.i + n_atoms]),
        j=np.concatenate([neighbors.j, neighbors.j + n_atoms]),
        S=np.concatenate([neighbors.S, neighbors.S]),
        first=np.concatenate([neighbors.first, neighbors.first[1:] + neighbors.n_pairs]),
    )
