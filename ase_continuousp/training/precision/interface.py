"""What the training loop asks of a precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn


class Precision(Protocol):
    """How weights are kept, passed to the kernels, and updated.

    Parameters
    ----------
    dtype : torch.dtype
        Of the kernels.
    """

    dtype: torch.dtype

    @property
    def scale(self) -> float:
        """Factor on the loss before it is differentiated."""
        ...

    def optimizer(
        self, network: nn.Module, learning_rate: float, beta2: float = 0.99
    ) -> torch.optim.Optimizer:
        """Bring the weights to the type in which they are kept and return their optimizer."""
        ...

    def passing(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside, the weights are what the kernels take; after it gradients have been added."""
        ...

    def step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float
    ) -> dict[str, float]:
        """Update the weights by their gradients, and return what is to be logged of it.

        Returns
        -------
        dict of str to float
            "norm" of the gradient, and "skipped", the updates that were left out so far.
        """
        ...

    def blend(self, average: Tensor, value: Tensor, share: float) -> None:
        """Move an average towards a value by a share of the way."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be kept for a run to go on to the same result."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what was kept."""
        ...
