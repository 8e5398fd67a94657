"""What the training loop asks of an objective."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.training.batches import Part, Streams


class Objective(Protocol):
    """A loss of a network over batches of crystals."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the terms of the loss, for the log."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """What the card of a model must say so that it is sampled as it was trained."""
        ...

    def draw(self, crystals: Crystals, rng: np.random.Generator | Streams) -> Any:
        """Return what an update needs besides the network; all randomness is drawn here."""
        ...

    def held_out(self, crystals: Crystals, rng: np.random.Generator) -> Any:
        """Return what a validation needs besides the network."""
        ...

    def accumulate(
        self,
        network: Any,
        drawn: Any,
        dtype: torch.dtype,
        of: Part | None = None,
        scale: float = 1.0,
    ) -> tuple[float, ...]:
        """Add the gradient of the loss, times the scale, and return the terms of the loss.

        Gradients and losses of the parts of a batch add up to those of the whole.
        """
        ...

    def loss(self, network: Any, drawn: Any, dtype: torch.dtype) -> tuple[float, ...]:
        """Return the terms of the loss without touching the parameters."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be kept for a run to go on to the same result."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what was kept."""
        ...
