"""Adam whose weights and moments are bfloat16."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ase_continuousp.training.precision.rounding import Rounding


class LowAdam(torch.optim.Optimizer):
    """Adam (Kingma, Ba 2015) that keeps weights and both moments in bfloat16.

    One parameter after the other is widened to float32, updated as Adam does, and rounded.
    Nothing of float32 stays between updates.

    Why not torchao's optimizer with ``bf16_stochastic_round``: its moments are rounded to the
    nearest, where an average of decay 0.998 stands still; it draws from torch's global stream, so
    that a run would not resume bit for bit; and every step of it goes through torch.compile,
    which on the CPU needs a C++ compiler.

    Parameters
    ----------
    parameters : iterable of bfloat16 parameters
    lr : float
    betas : (float, float)
    eps : float
    rounding : callable
        Of :mod:`ase_continuousp.training.precision.rounding`.
    generator : torch.Generator
        Of the rounding.

    Examples
    --------
    >>> from ase_continuousp.training.precision.rounding import stochastic
    >>> weight = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    >>> generator = torch.Generator().manual_seed(0)
    >>> optimizer = LowAdam([weight], lr=0.5, rounding=stochastic, generator=generator)
    >>> weight.grad = torch.ones_like(weight)
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        rounding: Rounding,
        generator: torch.Generator,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})
        self._rounding = rounding
        self._generator = generator

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        first, second = group["betas"]
        gradient = parameter.grad.float()  # type: ignore[union-attr]
        mean = state["exp_avg"].float().lerp_(gradient, 1.0 - first)
        square = state["exp_avg_sq"].float().lerp_(gradient.square(), 1.0 - second)
        denominator = square.sqrt().div_(math.sqrt(1.0 - second**step)).add_(group["eps"])
        change = mean.div(denominator).mul_(-group["lr"] / (1.0 - first**step))
        for target, value in (
            (state["exp_avg"], mean),
            (state["exp_avg_sq"], square),
            (parameter, change.add_(parameter.float())),
        ):
            target.copy_(self._rounding(value, self._generator))
