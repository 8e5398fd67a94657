"""Matching the gradient of an energy to the direction back to the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.training.batches import Part, Streams
from ase_continuousp.training.noise import Noised, NoiseLaw, perturb
from ase_continuousp.training.slopes import add_slope, first_derivatives

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GradientMatching(ABC):
    """What score matching and denoising score matching share.

    For a crystal perturbed at level s by displacements t (units of s ℓ) and strain c s G/√N::

        loss = mean_i ρ(|ℓ ∂U/∂r_i − h t_i|²) + w/2 mean_b ‖(c/√N) ∂U/∂ε − h G‖²

    The gradient with respect to the parameters needs no second derivatives
    (:mod:`ase_continuousp.training.slopes`).

    Parameters
    ----------
    law : NoiseLaw
    strain_weight : float
        w: with 1 the strain, of which little can be learned, holds back the positions.
    """

    law: NoiseLaw = field(default_factory=NoiseLaw)
    strain_weight: float = 0.2

    parts = ("position_loss", "strain_loss")

    @property
    def card(self) -> dict[str, Any]:
        """Nothing: the default sampler is made for this."""
        return {}

    @abstractmethod
    def target(self, levels: Floats) -> Floats:
        """Return h of each level."""

    @abstractmethod
    def robust(self, squares: Floats) -> tuple[Floats, Floats]:
        """Return ρ(x) and its derivative ρ′(x)."""

    def at_levels(self, network: Any, levels: Floats) -> Any:
        """Return the energy that crystals of these levels are given to."""
        return network

    def draw(self, crystals: Crystals, rng: np.random.Generator | Streams) -> Noised:
        """Draw levels and perturb a batch."""
        levels = self.law.levels(crystals.n_crystals, rng)
        return perturb(crystals, levels, self.law.strain_scale, rng)

    def held_out(self, crystals: Crystals, rng: np.random.Generator) -> Noised:
        """Draw levels and perturb a batch."""
        return self.draw(crystals, rng)

    def accumulate(
        self,
        network: Any,
        drawn: Noised,
        dtype: torch.dtype,
        of: Part | None = None,
        scale: float = 1.0,
    ) -> tuple[float, float]:
        """Add the gradient of the loss to the parameters and return the position and strain loss.

        Gradients and losses of the parts of a batch add up to those of the whole.

        Parameters
        ----------
        network : Network
        drawn : Noised
        dtype : torch.dtype
            Of the network.
        of : Part, optional
            The part of a batch that this is, if it is not a whole one.
        scale : float
            Factor on the gradient.

        Returns
        -------
        tuple of float
            Position and strain part of the loss.
        """
        position_loss, strain_loss, moves, strains = self._residuals(network, drawn, dtype, of)
        energy = self.at_levels(network, np.concatenate([drawn.levels] * 2))
        add_slope(network, energy, drawn.crystals, moves, strains, dtype, scale=scale)
        return position_loss, strain_loss

    def loss(self, network: Any, drawn: Noised, dtype: torch.dtype) -> tuple[float, float]:
        """Return the position and strain loss without touching the parameters."""
        return self._residuals(network, drawn, dtype)[:2]

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: an objective of this kind has no memory."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Refuse a memory that is not there."""
        if tensors:
            raise ValueError(f"tensors: nothing is kept of this objective: {sorted(tensors)}")

    def _residuals(
        self, network: Any, noised: Noised, dtype: torch.dtype, of: Part | None = None
    ) -> tuple[float, float, Floats, Floats]:
        crystals = noised.crystals
        whole = crystals if of is None else of
        n_atoms, n_crystals = whole.n_atoms, whole.n_crystals
        energy = self.at_levels(network, noised.levels)
        gradient, virial = first_derivatives(network, energy, crystals, dtype)
        scale = self.law.strain_scale
        target = self.target(noised.levels)
        lengths = crystals.lengths[crystals.crystal_index, None]
        r = lengths * gradient - target[crystals.crystal_index, None] * noised.displacements
        unit = (scale / np.sqrt(crystals.counts))[:, None, None]
        e = unit * virial - target[:, None, None] * noised.strains
        squares = np.einsum("ax,ax->a", r, r)
        bounded, slope = self.robust(squares)
        position_loss = float(np.sum(bounded)) / n_atoms
        strain_loss = float(0.5 * np.einsum("bxy,bxy->", e, e)) / n_crystals
        moves = lengths * (2.0 / n_atoms) * r * slope[:, None]
        strains = self.strain_weight * unit * e / n_crystals
        return position_loss, strain_loss, moves, strains
