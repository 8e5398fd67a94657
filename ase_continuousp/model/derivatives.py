"""Energies, forces and stress of any network by one symmetric strain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.model._order import MANY, along_curve
from ase_continuousp.model.inference import Inference
from ase_continuousp.model.pairs import Graph
from ase_continuousp.neighborlist import search

# Atoms for which a thread of their own does not pay.
_FEW = 64


class Network(Protocol):
    """A network that gives an energy to every atom of a batch."""

    cutoff_ratio: float

    def atomic_energies(self, graph: Graph, positions: Tensor, cells: Tensor) -> Tensor:
        """Return the energy of each atom, (n_atoms,)."""
        ...


class AutogradEnergy:
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
    >>> found = AutogradEnergy(network, dtype=torch.float64)(po)
    >>> found.forces.shape, found.stress.shape
    ((1, 3), (1, 3, 3))
    """

    backend = "auto"  # of the neighbor search

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
        fixed = self._fixed(crystals)
        lengths = crystals.lengths if fixed is None else fixed
        neighbors = search(crystals, self.network.cutoff_ratio * lengths, backend=self.backend)
        graph = Graph.of(crystals, neighbors, self.dtype, self.device)
        if fixed is not None:
            graph = replace(graph, lengths=torch.from_numpy(fixed).to(self.device))
        positions = torch.from_numpy(crystals.positions).to(self.device)
        cells = torch.from_numpy(crystals.cells).to(self.device)
        energies, grad_positions, virial = differentiate(self.network, graph, positions, cells)
        return _evaluation(crystals, energies, grad_positions, virial, crystals.volumes)

    def _fixed(self, crystals: Crystals) -> Any:
        return None if self.length is None else np.full(crystals.n_crystals, self.length)


class ModelEnergy(AutogradEnergy):
    """The same by hand-written derivatives where there are some: on the CPU, for `Inference`.

    As many threads as torch has share the crystals of a batch; what they find does not depend on
    their number, to the last bit. The weights are those that the network has when it is made.

    Parameters
    ----------
    network, dtype, device, length
        As for `AutogradEnergy`.

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.model.continuous import ContinuousEnergy
    >>> network = ContinuousEnergy(channels=16, vector_channels=16)
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> ModelEnergy(network)(po).forces.shape
    (1, 3)
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        length: float | None = None,
    ) -> None:
        super().__init__(network, dtype=dtype, device=device, length=length)
        self._inference: Inference | None = None
        if self.device.type == "cpu" and Inference.takes(network):
            self._inference = Inference(self.network)

    def __call__(self, crystals: Crystals) -> Evaluation:
        """Return energies, forces and stress of every crystal."""
        if self._inference is None:
            return super().__call__(crystals)
        if crystals.n_crystals == 1:
            is_large = crystals.n_atoms > MANY
            return self._infer_in_order(crystals) if is_large else self._infer(crystals)
        parts = shares(crystals.counts, torch.get_num_threads())
        if len(parts) == 1:
            return self._infer(crystals)
        with ThreadPoolExecutor(len(parts)) as pool:
            found = list(pool.map(self._infer, [crystals.select(part) for part in parts]))
        return Evaluation(
            *(np.concatenate([getattr(part, field.name) for part in found])
              for field in fields(Evaluation))
        )  # fmt: skip

    def _infer_in_order(self, crystal: Crystals) -> Evaluation:
        order = along_curve(crystal)
        found = self._infer(
            Crystals.single(crystal.positions[order], crystal.cells[0], crystal.numbers[order])
        )
        energies, forces = np.empty_like(found.energies), np.empty_like(found.forces)
        energies[order], forces[order] = found.energies, found.forces
        return replace(found, energies=energies, forces=forces)

    def _infer(self, crystals: Crystals) -> Evaluation:
        assert self._inference is not None
        volumes, fixed = crystals.volumes, self._fixed(crystals)
        lengths = np.cbrt(volumes / crystals.counts) if fixed is None else fixed
        pairs = search(crystals, self.network.cutoff_ratio * lengths, half=True)
        found = self._inference(crystals, pairs, lengths, fixed is None)
        return _evaluation(crystals, *found, volumes)


def shares(counts: Any, n_threads: int) -> list[Any]:
    """Return the crystals of each thread: runs of about as many atoms, none of very few.

    Examples
    --------
    >>> [part.tolist() for part in shares([50, 100, 20, 90], 2)]
    [[0, 1], [2, 3]]
    >>> len(shares([4, 3, 5], 2))
    1
    """
    ends = np.cumsum(counts)
    n_parts = min(n_threads, len(ends), max(1, int(ends[-1]) // _FEW)) if len(ends) else 1
    bounds = np.searchsorted(ends, ends[-1:] * np.arange(1, n_parts) / n_parts)
    return [part for part in np.split(np.arange(len(ends)), bounds + 1) if len(part)]


def _evaluation(
    crystals: Crystals, energies: Any, gradient: Any, virial: Any, volumes: Any
) -> Evaluation:
    return Evaluation(
        energy=np.add.reduceat(energies, crystals.offsets[:-1]),
        energies=energies,
        forces=-gradient,
        stress=virial / volumes[:, None, None],
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
    found = tensor_derivatives(network, graph, positions, cells)
    energies, gradient, virial = (t.cpu().numpy() for t in found)
    return energies, gradient, virial


def tensor_derivatives(
    network: Network, graph: Graph, positions: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same as float64 tensors, on the device where the others are."""
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
    return energies.detach().double(), gradient.double(), virial.double()
