"""Plain denoising score matching of an energy that is told the noise level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ase_continuousp.model.conditional import AtLevels
from ase_continuousp.training.objectives.matching import Floats, GradientMatching


@dataclass(frozen=True)
class DenoisingScoreMatching(GradientMatching):
    """Match the gradient of U(C; s) to the perturbation of level s (Song, Ermon 2019).

    For a crystal perturbed at level s by displacements t (units of s ℓ) and strain c s G/√N::

        loss = mean_i |ℓ ∂U/∂r_i − t_i|² + w/2 mean_b ‖(c/√N) ∂U/∂ε − G‖²

    so that −∇U/s is the score of the crystals of level s (arXiv:1907.05600, with every level
    weighted by s²). Nothing saturates, nothing is bounded: at each level the target is of order
    one. The network is :class:`ase_continuousp.model.conditional.ConditionalEnergy`, the
    sampler :func:`ase_continuousp.sampling.ancestral.ancestral`.

    Examples
    --------
    >>> DenoisingScoreMatching().target(np.array([0.1])).tolist()
    [1.0]
    """

    @property
    def card(self) -> dict[str, Any]:
        """Levels of the sampler: from the highest to the lowest that was trained."""
        return {
            "anneal": {
                "level": self.law.highest,
                "lowest_level": self.law.lowest,
                # A first step from a high level is longer than those of an anneal.
                "largest": 1.5,
            }
        }

    def target(self, levels: Floats) -> Floats:
        """Return 1."""
        return np.ones_like(levels)

    def robust(self, squares: Floats) -> tuple[Floats, Floats]:
        """Return x and 1."""
        return squares, np.ones_like(squares)

    def at_levels(self, network: Any, levels: Floats) -> Any:
        """Return the network at these levels."""
        return AtLevels(network, torch.from_numpy(levels))
