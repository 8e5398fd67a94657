"""Contrastive divergence as the paper does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.sampling.mean_energy import MeanEnergy
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.training.batches import Part, Streams
from ase_continuousp.training.noise import NoiseLaw
from ase_continuousp.training.objectives.contrast import (
    Contrast,
    Contrastive,
    add_gradient,
    resting,
)
from ase_continuousp.training.objectives.negatives import random_negative


@dataclass(frozen=True)
class Chains:
    """Crystals of the data, the starts of the chains, and their randomness.

    Parameters
    ----------
    data, starts : Crystals
    rng : numpy.random.Generator
    """

    data: Crystals
    starts: Crystals
    rng: np.random.Generator


@dataclass(frozen=True)
class ContrastiveDivergence(Contrastive):
    """Lower the energy of the data and raise that of samples (Tone et al. 2025, arXiv:2502.02026).

    With E = U/N, one energy per crystal as in the paper::

        loss = mean(E(data) − E(sample)) + α (mean E(data)² + mean E(sample)²)

    A sample is the end of an annealed chain of Metropolis-adjusted Langevin steps
    (:class:`ase_continuousp.sampling.paper.PaperSampler`: T from 1 to 10⁻³, η from 0.5 to
    5·10⁻⁴ Å², cells reduced in every step) from a random crystal with the formula of a crystal
    of the data, in a geometric number of formula units. Not taken over from the official code:
    the reversed sign of the drift in its proposal density, and its cutoff at 0.01 Å.

    The validation loss compares the data with perturbed data, without chains.

    Parameters
    ----------
    chain_steps : int
        1,000 in the paper.
    regularization : float
        α.
    law : NoiseLaw
        Of the perturbations in validation.

    Examples
    --------
    >>> ContrastiveDivergence().card["sampler"]
    'per crystal'
    """

    chain_steps: int = 1000
    regularization: float = 0.1
    law: NoiseLaw = field(default_factory=NoiseLaw)

    @property
    def card(self) -> dict[str, Any]:
        """The sampler of the paper, on the energy per crystal."""
        return {"sampler": "per crystal", "anneal": {"n_steps": self.chain_steps}}

    def draw(self, crystals: Crystals, rng: np.random.Generator | Streams) -> Chains:
        """Draw where the chains start."""
        own = rng.spawn(crystals.n_crystals)
        starts = [
            random_negative(one.numbers, stream) for one, stream in zip(crystals, own, strict=True)
        ]
        return Chains(crystals, Crystals.concatenate(starts), own[0])

    def accumulate(
        self,
        network: Any,
        drawn: Chains,
        dtype: torch.dtype,
        of: Part | None = None,
        scale: float = 1.0,
    ) -> tuple[float, float]:
        """Run the chains and add the gradient of the loss."""
        with resting(network, dtype) as energy:
            sampler = PaperSampler(n_steps=self.chain_steps)
            ends = sampler.run(MeanEnergy(energy), drawn.starts, drawn.rng).crystals
        contrast = Contrast(drawn.data, ends)
        return add_gradient(network, contrast, dtype, self.regularization, of, scale)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: every chain begins anew."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Do nothing."""
