"""Other weights for one pass, and gradients that are rounded before they add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def exchanged(
    network: nn.Module,
    shown: Callable[[Tensor], Tensor],
    summed: Callable[[Tensor, Tensor | None], Tensor],
) -> Iterator[None]:
    """Run a block with weights made from those of a network, which has its own back afterwards.

    Parameters
    ----------
    network : torch.nn.Module
    shown : callable
        Makes of a weight what the block sees.
    summed : callable
        Makes of the gradient of the block, and of that before it if there is one, the gradient
        that the network is left with.

    Examples
    --------
    >>> import torch
    >>> network = nn.Linear(1, 1, bias=False)
    >>> with exchanged(network, torch.ones_like, lambda made, before: made):
    ...     network(torch.tensor([3.0])).backward()
    >>> network.weight.grad
    tensor([[3.]])
    """
    kept = [(p, p.data, p.grad) for p in network.parameters()]
    for parameter, own, _ in kept:
        parameter.grad = None
        parameter.data = shown(own)
    try:
        yield
    finally:
        for parameter, own, before in kept:
            made = parameter.grad
            parameter.grad = None
            parameter.data = own
            parameter.grad = before if made is None else summed(made, before)
