"""Energies, forces and stress of any network by one symmetric strain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.model.pairs import Graph
from ase_continuousp.neighborlist import search


class Network(Protocol):
    """A network that gives an energy to every atom of a batch."""

    cutoff_ratio: float

    def atomic_energies(self, graph: Graph, positions: Tensor, cells: Tensor) -> Tensor:
        """Return the energy of each atom, (n_atoms,)."""
        ...


class ModelEnergy:
    """A network as an energy function: neighbor search, energy, forces and stress in one call.

    With r(ε) = r (1 + ε) and L(ε) = L (1 + ε), ε symmetric: forces −∂E/∂r and stress
    (1/V) ∂E/∂ε at ε = 0. ℓ and the cutoff are functions of L(ε), so the stress contains their
    change with the density.

    Parameters
    ----------
    network : Network
    dtype : torch.dtype
        Precision of the network; positions and pair vectors are always float64 before the last
        rounding.
    device : torch.device or str
    length : float, optional [Å]
        Stands for ℓ in all crystals; cutoff and energy then no longer follow the density.

    Examples
    --------
    >>> import torch
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.model.continuous import ContinuousEnergy
    >>> network = ContinuousEnergy(channels=8, vector_channels=4)
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> found = ModelEnergy(network, dtype=torch.float64)(po)
    >>> found.forces.shape, found.stress.shape
    ((1, 3), (1, 3, 3))
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        length: float | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.length = length
        self.network: Any = network.to(self.device, dtype).eval().requires_grad_(False)

    def __call__(self, crystals: Crystals) -> Evaluation:
        """Return energies, forces and stress of every crystal."""
        fixed = None if self.length is None else np.full(crystals.n_crystals, self.length)
        lengths = crystals.lengths if fixed is None else fixed
        neighbors = search(crystals, self.network.cutoff_ratio * lengths)
        graph = Graph.of(crystals, neighbors, self.dtype, self.device)
        if fixed is not None:
            graph = replace(graph, lengths=torch.from_numpy(fixed).to(self.device))
        positions = torch.from_numpy(crystals.positions).to(self.device)
        cells = torch.from_numpy(crystals.cells).to(self.device)
        energies, grad_positions, virial = differentiate(self.network, graph, positions, cells)
        per_crystal = np.add.reduceat(energies, crystals.offsets[:-1])
        return Evaluation(
            energy=per_crystal,
            energies=energies,
            forces=-grad_positions,
            stress=virial / crystals.volumes[:, None, None],
        )


def differentiate(
    network: Network, graph: Graph, positions: Tensor, cells: Tensor
) -> tuple[Any, Any, Any]:
    """Return atomic energies, ∂E/∂r and ∂E/∂ε as float64 arrays.

    Parameters
    ----------
    network : Network
    graph : Graph
    positions : (n_atoms, 3) float64 tensor [Å]
    cells : (n_crystals, 3, 3) float64 tensor [Å]

    Returns
    -------
    energies : (n_atoms,) array
    gradient : (n_atoms, 3) array [1/Å]
    virial : (n_crystals, 3, 3) array, symmetric
    """
    with torch.enable_grad():
        positions = positions.detach().requires_grad_(True)
        strain = torch.zeros_like(cells, requires_grad=True)
        symmetric = 0.5 * (strain + strain.transpose(1, 2))
        stretched = cells + cells @ symmetric
        moved = positions + torch.einsum("ax,axy->ay", positions, symmetric[graph.crystal_index])
        energies = network.atomic_energies(graph, moved, stretched)
        gradient, virial = torch.autograd.grad(
            energies.sum(), (positions, strain), materialize_grads=True
        )
    made = [t.detach().double().cpu().numpy() for t in (energies, gradient, virial)]
    return made[0], made[1], made[2]
