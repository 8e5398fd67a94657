"""Float32 master weights, passes with weights and gradients of 16 bits."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ase_continuousp.training.precision.exchange import exchanged
from ase_continuousp.training.precision.full import adam


class Mixed:
    """Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740), as far as it concerns weights.

    Every pass takes the master weights rounded to 16 bits, and its gradient is rounded to 16 bits
    before it is added, in float32, to that of the update; clipping, optimizer and average are
    float32. Activations stay float32, because the kernels know nothing lower.

    The smallest float16 is 6·10⁻⁸ and the largest 65,504: its gradients are those of the loss
    times a scale, which is halved whenever one overflows (that update is left out) and doubled
    after 2,000 updates without. bfloat16 has the range of float32 and needs no scale. The
    scaler is :class:`torch.amp.GradScaler`.

    Parameters
    ----------
    low : torch.dtype
        torch.float16 or torch.bfloat16.
    first_scale : float
        Scale of float16 to begin with.

    Examples
    --------
    >>> Mixed(torch.bfloat16).scale, Mixed(torch.float16).scale
    (1.0, 65536.0)
    """

    dtype = torch.float32

    def __init__(self, low: torch.dtype, *, first_scale: float = 2.0**16) -> None:
        self.low = low
        self.scaler = torch.amp.GradScaler(
            "cpu", init_scale=first_scale, enabled=low == torch.float16
        )
        # The scaler makes its tensors when it first sees a loss; it never sees ours.
        self.scaler.scale(torch.zeros(()))
        self.skipped = 0

    @property
    def scale(self) -> float:
        """The present scale of the loss."""
        return float(self.scaler.get_scale())

    def optimizer(
        self, network: nn.Module, learning_rate: float, beta2: float = 0.99
    ) -> torch.optim.Optimizer:
        """Return Adam over the master weights."""
        network.to(torch.float32)
        return adam(network, learning_rate, beta2)

    def passing(self, network: nn.Module) -> AbstractContextManager[None]:
        """Put rounded weights into the network, and take rounded gradients from it."""
        return exchanged(network, self._rounded, self._summed)

    def _rounded(self, values: Tensor) -> Tensor:
        return values.to(self.low).float()

    def _summed(self, made: Tensor, before: Tensor | None) -> Tensor:
        rounded = self._rounded(made)
        return rounded if before is None else before.add_(rounded)

    def step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float
    ) -> dict[str, float]:
        """Divide by the scale, clip and update, unless the gradient overflowed."""
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
        before = self.scale
        self.scaler.step(optimizer)
        self.scaler.update()
        self.skipped += self.scale < before
        return {"norm": float(norm), "skipped": self.skipped}

    def blend(self, average: Tensor, value: Tensor, share: float) -> None:
        """Move an average towards a value."""
        average.lerp_(value, share)

    def tensors(self) -> dict[str, Tensor]:
        """Return scale, updates since it was changed, and updates left out."""
        growth = int(self.scaler.state_dict().get("_growth_tracker", 0))
        return {
            "scale": torch.tensor(self.scale),
            "counts": torch.tensor([growth, self.skipped]),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what was kept."""
        growth, self.skipped = tensors["counts"].tolist()
        if self.scaler.is_enabled():
            kept = {"scale": float(tensors["scale"]), "_growth_tracker": growth}
            self.scaler.load_state_dict({**self.scaler.state_dict(), **kept})
