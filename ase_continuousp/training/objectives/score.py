"""Score matching of one noise-blind energy with a saturating target (the default objective)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ase_continuousp.sampling.moves import AnnealSettings
from ase_continuousp.training.objectives.matching import Floats, GradientMatching


@dataclass(frozen=True)
class ScoreMatching(GradientMatching):
    """Match the gradient of the energy to the direction back to the data.

    For a crystal perturbed at level s by displacements t (units of s ℓ) and strain c s G/√N::

        loss = mean_i ρ(|ℓ ∂U/∂r_i − h t_i|²) + w/2 mean_b ‖(c/√N) ∂U/∂ε − h G‖²,  h = s/(s + s₀)

    The network never sees s, so U is one energy with a funnel around every crystal of the data;
    h → 0 makes its bottom smooth, within s₀ of it: a model whose gradient is off by e there has
    its minimum off by s₀ e. Strains and their weight w are small because most of a strain
    cannot be told from a perturbed crystal. ρ(x) = 2δ²(√(1 + x/δ²) − 1)
    bounds the pull of atoms that came to lie nearly on top of each other.

    Parameters
    ----------
    law : NoiseLaw
    strain_weight : float
        w: with 1 the strain, of which little can be learned, holds back the positions.
    saturation : float
        s₀.
    robustness : float
        δ.

    Examples
    --------
    >>> ScoreMatching().target(np.array([0.1])).tolist()
    [0.5]
    """

    saturation: float = 0.1
    robustness: float = 3.0

    @property
    def card(self) -> dict[str, Any]:
        """The steps of the sampler that fit s₀; nothing where they are those by default."""
        usual = AnnealSettings()
        if self.saturation == usual.saturation:
            return {}
        # The curvature at the bottom is 1/s₀.
        first = usual.quench_step * self.saturation / usual.saturation
        return {"anneal": {"saturation": self.saturation, "quench_step": first}}

    def target(self, levels: Floats) -> Floats:
        """Return h = s/(s + s₀)."""
        return levels / (levels + self.saturation)

    def robust(self, squares: Floats) -> tuple[Floats, Floats]:
        """Return ρ and ρ′ = 1/√(1 + x/δ²)."""
        root = np.sqrt(1.0 + squares / self.robustness**2)
        return 2.0 * self.robustness**2 * (root - 1.0), 1.0 / root
