"""Rounding float32 to bfloat16, to the nearest or at random without bias."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rounding = Callable[[Tensor, torch.Generator], Tensor]

_LOW_BITS = 16  # of a float32 that a bfloat16 does not have


def nearest(values: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """Round to the nearest bfloat16; draws nothing.

    Examples
    --------
    >>> nearest(torch.tensor([1.0 + 2**-10]), torch.Generator()).item()
    1.0
    """
    return values.to(torch.bfloat16)


def stochastic(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round up or down so that the expectation is the value itself.

    A float32 between the bfloat16 a < b becomes b with probability (x − a)/(b − a): a uniform
    integer of 16 bits is added to the 16 bits that fall away, and its carry decides. An update
    far smaller than the spacing of the numbers is lost by rounding to the nearest; here it
    arrives in the mean.

    Parameters
    ----------
    values : float32 tensor
    generator : torch.Generator

    Returns
    -------
    bfloat16 tensor

    Examples
    --------
    >>> many = torch.full((40_000,), 1.0 + 2**-9)  # a quarter of the way from 1 to 1 + 2⁻⁷
    >>> made = stochastic(many, torch.Generator().manual_seed(0)).float()
    >>> sorted(set(made.tolist())), bool((made.mean() - many[0]).abs() < 1e-4)
    ([1.0, 1.0078125], True)
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(
        1 << _LOW_BITS, values.shape, generator=generator, dtype=torch.int32, device=values.device
    )
    # In both signs a larger pattern is a larger magnitude.
    rounded = ((bits + noise) & -(1 << _LOW_BITS)).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)
