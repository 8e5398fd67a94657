"""The loss of contrastive divergence, wherever its negative samples come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.pairs import Graph
from ase_continuousp.neighborlist import search
from ase_continuousp.training.batches import Part
from ase_continuousp.training.noise import NoiseLaw, perturb


@dataclass(frozen=True)
class Contrast:
    """Crystals of the data and those that are to lie higher.

    Parameters
    ----------
    data : Crystals
    negatives : Crystals
    """

    data: Crystals
    negatives: Crystals


class Contrastive:
    """What such objectives share: terms, and validation against perturbed crystals, no chains."""

    parts = ("gap", "regularization")
    regularization: float
    law: NoiseLaw

    def held_out(self, crystals: Crystals, rng: np.random.Generator) -> Contrast:
        """Return the crystals and perturbed ones."""
        levels = self.law.levels(crystals.n_crystals, rng)
        return Contrast(crystals, perturb(crystals, levels, self.law.strain_scale, rng).crystals)

    def loss(self, network: Any, drawn: Contrast, dtype: torch.dtype) -> tuple[float, float]:
        """Return the terms of the loss against perturbed crystals, touching no parameter."""
        with torch.no_grad():
            gap, squares = _terms(network, drawn, dtype, None)
        return float(gap), self.regularization * float(squares)


@contextmanager
def resting(network: Any, dtype: torch.dtype) -> Iterator[ModelEnergy]:
    """Yield the network as an energy function; its parameters want no gradient inside."""
    wanted = [p for p in network.parameters() if p.requires_grad]
    was_training = network.training
    try:
        yield ModelEnergy(network, dtype=dtype)
    finally:
        network.train(was_training)
        for parameter in wanted:
            parameter.requires_grad_(True)


def add_gradient(
    network: Any,
    contrast: Contrast,
    dtype: torch.dtype,
    regularization: float,
    of: Part | None,
    scale: float,
) -> tuple[float, float]:
    """Add the gradient of mean(E⁺ − E⁻) + α (mean E⁺² + mean E⁻²) and return both terms."""
    gap, squares = _terms(network, contrast, dtype, of)
    ((gap + regularization * squares) * scale).backward()
    return float(gap.detach()), regularization * float(squares.detach())


def mean_energies(network: Any, contrast: Contrast, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return E = U/N of the data and of the negatives, differentiable by the parameters.

    Parameters
    ----------
    network : Network
    contrast : Contrast
        As many negatives as data.
    dtype : torch.dtype
        Of the network.

    Returns
    -------
    two (n_crystals,) tensors

    Examples
    --------
    >>> from ase_continuousp.model.continuous import ContinuousEnergy
    >>> po = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> network = ContinuousEnergy(channels=8, vector_channels=4)
    >>> low, high = mean_energies(network, Contrast(po, po), torch.float32)
    >>> low.shape, bool(low == high)
    (torch.Size([1]), True)
    """
    n = contrast.data.n_crystals
    both = Crystals.concatenate([contrast.data, contrast.negatives])
    neighbors = search(both, network.cutoff_ratio * both.lengths)
    graph = Graph.of(both, neighbors, dtype, torch.device("cpu"))
    atomic = network.atomic_energies(
        graph, torch.from_numpy(both.positions), torch.from_numpy(both.cells)
    )
    energies = atomic.new_zeros(both.n_crystals).index_add(0, graph.crystal_index, atomic)
    means = energies / graph.counts
    return means[:n], means[n:]


def _terms(
    network: Any, contrast: Contrast, dtype: torch.dtype, of: Part | None
) -> tuple[Tensor, Tensor]:
    n = contrast.data.n_crystals
    positive, negative = mean_energies(network, contrast, dtype)
    # Chains that left the finite numbers never moved there, so negatives are as many as drawn.
    whole = n if of is None else of.n_crystals
    share = n / whole
    gap = share * (positive.mean() - negative.mean())
    squares = share * (positive.square().mean() + negative.square().mean())
    return gap, squares
