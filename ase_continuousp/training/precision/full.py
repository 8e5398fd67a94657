"""One floating-point type for everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BETA1 = 0.9


class Full:
    """Weights, passes, gradients and optimizer in one type: float32 or float64.

    Examples
    --------
    >>> Full(torch.float64).scale
    1.0
    """

    scale = 1.0

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def optimizer(
        self, network: nn.Module, learning_rate: float, beta2: float = 0.99
    ) -> torch.optim.Optimizer:
        """Return Adam over the parameters, brought to the type."""
        network.to(self.dtype)
        return adam(network, learning_rate, beta2)

    @contextmanager
    def passing(self, network: nn.Module) -> Iterator[None]:
        """Leave everything as it is."""
        yield

    def step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float
    ) -> dict[str, float]:
        """Clip the gradient and update."""
        norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        return {"norm": float(norm), "skipped": 0}

    def blend(self, average: Tensor, value: Tensor, share: float) -> None:
        """Move an average towards a value."""
        average.lerp_(value, share)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: all is in the weights and the optimizer."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Do nothing."""


def adam(network: nn.Module, learning_rate: float, beta2: float) -> torch.optim.Adam:
    """Return the optimizer of all runs in full or mixed precision."""
    betas = (BETA1, beta2)
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas, foreach=True)
