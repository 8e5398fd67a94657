"""Energies whose neighbor lists, graphs and derivatives stay on the device.

A step of a sampler or of a relaxation brings positions and cells to the device and takes energies
and gradients back, each in one transfer; in between the host waits for a single yes or no, whether
the list of pairs still holds. Shapes and addresses of a graph do not change unless there are more
pairs than ever before, as capturing a CUDA graph asks for.

Tested on tensors of the host; never run on a CUDA device.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.model.continuous import crystal_lengths
from ase_continuousp.model.derivatives import tensor_derivatives
from ase_continuousp.model.pairs import Graph, TorchPairs
from ase_continuousp.neighborlist.tensors import search_tensors

# Room for pairs over what the first list holds.
SPARE = 1.25


class DeviceGraph:
    """The graph of a batch, kept while its atoms move.

    The list holds pairs up to the cutoff and a skin. With F the strain since it was made and d the
    farthest that an atom went on its own, what is not in the list is still farther apart than
    (1 − ‖F − 1‖) r − 2 d, r the radius of the list; while that exceeds the cutoff of every crystal,
    the list holds. Pairs beyond the cutoff, and padding, contribute nothing at all.

    Parameters
    ----------
    crystals : Crystals
        Whose numbers and atom counts the batch has.
    cutoff_ratio : float
        Cutoff over ℓ.
    dtype : torch.dtype
        Of the network.
    device : torch.device or str
    skin : float [Å]
    length : float, optional [Å]
        Stands for ℓ.

    Examples
    --------
    >>> import torch
    >>> from ase_continuousp.crystals import Crystals
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> kept = DeviceGraph(po, 1.8, torch.float32, "cpu")
    >>> graph = kept.update(torch.from_numpy(po.positions), torch.from_numpy(po.cells))
    >>> int(graph.first[-1]), len(graph.i), kept.n_lists
    (26, 33, 1)
    """

    def __init__(
        self,
        crystals: Crystals,
        cutoff_ratio: float,
        dtype: torch.dtype,
        device: torch.device | str,
        *,
        skin: float = 0.3,
        length: float | None = None,
    ) -> None:
        def put(array: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.cutoff_ratio, self.skin = cutoff_ratio, skin
        self.n_lists = 0
        self._offsets = put(crystals.offsets)
        none = torch.zeros(0, dtype=torch.int64, device=device)
        fixed = None if length is None else np.full(crystals.n_crystals, length)
        self.graph = Graph(
            numbers=put(crystals.numbers),
            crystal_index=put(crystals.crystal_index),
            counts=put(crystals.counts).to(dtype),
            first=none,
            i=none,
            j=none,
            shifts=none,
            half=none,  # for memory of the host alone
            half_first=none,
            lengths=None if fixed is None else put(fixed),
        )

    def update(self, positions: Tensor, cells: Tensor) -> Graph:
        """Return a graph that holds for these positions and cells; the host waits once or twice.

        Parameters
        ----------
        positions : (n_atoms, 3) float64 tensor [Å]
        cells : (n_crystals, 3, 3) float64 tensor [Å]

        Raises
        ------
        ValueError
            If positions or cells allow no search, when a list is made for the first time or has
            outgrown its room.
        """
        if self.n_lists == 0:
            self._reserve(positions, cells)
        elif bool(self.is_stale(positions, cells)):
            self.rebuild(positions, cells)
            if not bool(self.is_whole):
                self._reserve(positions, cells)
        return self.graph

    def is_stale(self, positions: Tensor, cells: Tensor) -> Tensor:
        """Return whether the list may miss a pair, without waiting for the answer."""
        back, before, listed = self._made_for
        strain = back @ cells
        b = self.graph.crystal_index
        carried = torch.einsum("ax,axy->ay", before, strain[b])
        alone = torch.linalg.vector_norm(positions - carried, dim=1)
        farthest = torch.zeros_like(listed).scatter_reduce(0, b, alone, "amax")
        one = torch.eye(3, dtype=cells.dtype, device=cells.device)
        kept = (1.0 - torch.linalg.matrix_norm(strain - one)) * listed
        # Written so that what is undefined is stale.
        holds: Tensor = (kept - 2.0 * farthest > self._cutoffs(cells)).all()
        return ~holds

    def rebuild(self, positions: Tensor, cells: Tensor) -> None:
        """Make the list anew in its place, without waiting for anything on a device.

        `is_whole`, a tensor, is false afterwards if there was not enough room for all pairs, or
        if positions or cells allow no search.

        Raises
        ------
        ValueError
            If there is no list yet, whose room could be used.
        """
        if self.n_lists == 0:
            raise ValueError("update must have been called: there is no room for pairs yet")
        self._search(positions, cells, len(self.graph.i))

    def _reserve(self, positions: Tensor, cells: Tensor) -> None:
        first, n_pairs = self._search(positions, cells, None)
        n = math.ceil(SPARE * n_pairs)

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=first.device)

        self.graph = replace(
            self.graph,
            first=zeros(len(first)), i=zeros(n), j=zeros(n), shifts=zeros(n, 3, dtype=torch.int32),
        )  # fmt: skip
        self._search(positions, cells, n)

    def _search(self, positions: Tensor, cells: Tensor, capacity: int | None) -> tuple[Tensor, int]:
        radii = self._cutoffs(cells) + self.skin
        found = search_tensors(positions, cells, self._offsets, radii, capacity=capacity)
        if capacity is None:
            return found.first, len(found.i)
        graph = self.graph
        graph.first.copy_(found.first.clamp(max=capacity))
        graph.i.copy_(found.i)
        graph.j.copy_(found.j)
        graph.shifts.copy_(found.S)
        self.is_whole = found.is_valid & (found.n_pairs <= capacity)
        back = torch.linalg.inv_ex(cells).inverse  # does not wait to see whether there is one
        self._made_for = back, positions.clone(), radii
        self.n_lists += 1
        return graph.first, capacity

    def _cutoffs(self, cells: Tensor) -> Tensor:
        return self.cutoff_ratio * crystal_lengths(self.graph, cells)


class DeviceEnergy:
    """A network as an energy function that keeps its graph on the device from call to call.

    For sampling and relaxing batches of the same crystals; another batch begins a new graph.

    Parameters
    ----------
    network : Network
        Which is copied, with plain passes over pairs (`TorchPairs`).
    dtype : torch.dtype
    device : torch.device or str
    length : float, optional [Å]
        Stands for ℓ.
    skin : float [Å]

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.model.continuous import ContinuousEnergy
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> energy = DeviceEnergy(ContinuousEnergy(channels=8, vector_channels=4), device="cpu")
    >>> energy(po).forces.shape
    (1, 3)
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cuda",
        length: float | None = None,
        skin: float = 0.3,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.length, self.skin = length, skin
        copied: Any = deepcopy(network)
        copied.pairs = TorchPairs()
        self.network: Any = copied.to(self.device, dtype).eval().requires_grad_(False)
        self.graph: DeviceGraph | None = None
        self._batch: tuple[Any, Any] | None = None

    def __call__(self, crystals: Crystals) -> Evaluation:
        """Return energies, forces and stress of every crystal."""
        n, n_b = crystals.n_atoms, crystals.n_crystals
        kept = self._kept(crystals)
        there = torch.from_numpy(
            np.concatenate([crystals.positions, crystals.cells.reshape(-1, 3)])
        )
        there = there.to(self.device)
        positions, cells = there[:n], there[n:].reshape(n_b, 3, 3)
        found = tensor_derivatives(self.network, kept.update(positions, cells), positions, cells)
        flat = torch.cat([t.flatten() for t in found]).cpu().numpy()
        energies, gradient, virial = np.split(flat, [n, 4 * n])
        return Evaluation(
            energy=np.add.reduceat(energies, crystals.offsets[:-1]),
            energies=energies,
            forces=-gradient.reshape(n, 3),
            stress=virial.reshape(n_b, 3, 3) / crystals.volumes[:, None, None],
        )

    def _kept(self, crystals: Crystals) -> DeviceGraph:
        batch = crystals.numbers, crystals.offsets
        if (
            self.graph is None
            or self._batch is None
            or not all(
                np.array_equal(one, other) for one, other in zip(batch, self._batch, strict=True)
            )
        ):
            self._batch = batch[0].copy(), batch[1].copy()
            self.graph = DeviceGraph(
                crystals, self.network.cutoff_ratio, self.dtype, self.device,
                skin=self.skin, length=self.length,
            )  # fmt: skip
        return self.graph
