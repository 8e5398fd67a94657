"""Weights, average and state of the optimizer in bfloat16, without a copy in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ase_continuousp.training.precision.exchange import exchanged
from ase_continuousp.training.precision.full import BETA1
from ase_continuousp.training.precision.low_adam import LowAdam
from ase_continuousp.training.precision.rounding import Rounding


class Low:
    """Everything that lasts longer than a pass is bfloat16: 8 bytes a weight instead of 16.

    These are weight, average and both moments, 2 bytes each; between passes the gradient too.
    During a pass the weights are widened to float32, because the kernels know nothing lower;
    what is widened is let go after it. Every sum that lasts (weights, moments, average,
    gradients of several passes) is formed in float32, one parameter at a time, and rounded.

    Parameters
    ----------
    rounding : callable
        `stochastic` gives sums without bias. `nearest` is there to be compared with: it loses
        whatever is below half the spacing of the numbers, 0.2 to 0.4 % of a weight.
    seed : int
        Of the rounding.

    Examples
    --------
    >>> from ase_continuousp.training.precision.rounding import stochastic
    >>> network = nn.Linear(2, 1)
    >>> _ = Low(stochastic, seed=0).optimizer(network, 1e-3)
    >>> network.weight.dtype
    torch.bfloat16
    """

    dtype = torch.float32
    scale = 1.0

    def __init__(self, rounding: Rounding, *, seed: int) -> None:
        self._rounding = rounding
        self._generator = torch.Generator().manual_seed(seed)

    def optimizer(
        self, network: nn.Module, learning_rate: float, beta2: float = 0.99
    ) -> torch.optim.Optimizer:
        """Round the weights and return their optimizer."""
        for parameter in network.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        return LowAdam(
            network.parameters(),
            lr=learning_rate,
            betas=(BETA1, beta2),
            rounding=self._rounding,
            generator=self._generator,
        )

    def passing(self, network: nn.Module) -> AbstractContextManager[None]:
        """Widen the weights, and take rounded gradients."""
        return exchanged(network, Tensor.float, self._summed)

    def _summed(self, made: Tensor, before: Tensor | None) -> Tensor:
        total = made if before is None else made + before.float()
        return self._rounding(total, self._generator)

    def step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float
    ) -> dict[str, float]:
        """Clip the gradient and update."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        norm = torch.stack([g.float().square().sum() for g in gradients]).sum().sqrt()
        factor = float((clip / (norm + 1e-6)).clamp(max=1.0))
        if factor < 1.0:
            for gradient in gradients:
                gradient.mul_(factor)
        optimizer.step()
        return {"norm": float(norm), "skipped": 0}

    def blend(self, average: Tensor, value: Tensor, share: float) -> None:
        """Move an average towards a value."""
        wide = average.float().lerp_(value.float(), share)
        average.copy_(self._rounding(wide, self._generator))

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of the random numbers."""
        return {"generator": self._generator.get_state()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what was kept."""
        self._generator.set_state(tensors["generator"])
