"""An energy for every level of noise: what plain denoising score matching trains."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.pairs import Graph

_N_FEATURES = 12
_LOWEST, _HIGHEST = 0.01, 1.5  # of the levels that the features tell apart


class ConditionalEnergy(ContinuousEnergy):
    """The default energy with the noise level s of the crystal as one more feature of its atoms.

    U(C; s) is the energy of crystals that were perturbed by s: one smooth landscape for every
    level. Samplers go down the levels (:func:`ase_continuousp.sampling.ancestral.ancestral`).
    Where no level is given, as in the calculator, it is `resting_level`.

    Parameters
    ----------
    resting_level : float
    **sizes
        Of :class:`ase_continuousp.model.continuous.ContinuousEnergy`.

    Examples
    --------
    >>> network = ConditionalEnergy(channels=8, vector_channels=4, n_layers=2)
    >>> network.hyperparameters["resting_level"]
    0.05
    """

    kind = "conditional"

    def __init__(self, *, resting_level: float = 0.05, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.hyperparameters["resting_level"] = resting_level
        self.level = nn.Linear(_N_FEATURES, self.hyperparameters["channels"], bias=False)

    def atomic_energies(
        self, graph: Graph, positions: Tensor, cells: Tensor, levels: Tensor | None = None
    ) -> Tensor:
        """Return the energy of each atom.

        Parameters
        ----------
        graph : Graph
        positions : (n_atoms, 3) float64 tensor [Å]
        cells : (n_crystals, 3, 3) float64 tensor [Å]
        levels : (n_crystals,) tensor, optional
            s > 0 of each crystal.
        """
        if levels is None:
            levels = cells.new_full((len(cells),), self.hyperparameters["resting_level"])
        features = self.level(level_features(levels).to(self.level.weight.dtype))
        return self._energies(graph, positions, cells, features)


class AtLevels(nn.Module):
    """A conditional energy at fixed levels: an energy like any other.

    Parameters
    ----------
    network : ConditionalEnergy
    levels : (n_crystals,) tensor

    Examples
    --------
    >>> network = ConditionalEnergy(channels=8, vector_channels=4, n_layers=2)
    >>> AtLevels(network, torch.tensor([0.1])).cutoff_ratio
    1.8
    """

    def __init__(self, network: ConditionalEnergy, levels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.levels = levels
        self.cutoff_ratio = network.cutoff_ratio

    def atomic_energies(self, graph: Graph, positions: Tensor, cells: Tensor) -> Tensor:
        """Return the energy of each atom at these levels."""
        return self.network.atomic_energies(graph, positions, cells, self.levels)


def level_features(levels: Tensor) -> Tensor:
    """Return 12 Gaussians in log s, centers from s = 0.01 to 1.5, (n, 12).

    Examples
    --------
    >>> level_features(torch.tensor([0.01]))[0, 0].item()
    1.0
    """
    centers = torch.linspace(
        math.log(_LOWEST), math.log(_HIGHEST), _N_FEATURES, dtype=levels.dtype
    ).to(levels.device)
    spacing = math.log(_HIGHEST / _LOWEST) / (_N_FEATURES - 1)
    return torch.exp(-0.5 * ((levels.log()[:, None] - centers) / spacing) ** 2)
