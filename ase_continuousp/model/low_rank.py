"""A change of a network in few numbers: matrices of low rank beside its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ase_continuousp.model.packing import packed, unpacked

_LEFT, _RIGHT, _WHOLE = ".left", ".right", ".whole"


class LowRankChange(nn.Module):
    """W + A B for every large matrix W of a network, and W + Δ for the rest of its parameters.

    A has as many columns as the rank, and is zero at first (Hu et al., arXiv:2106.09685), so that
    the network begins unchanged. Only A, B and Δ are parameters here.

    Parameters
    ----------
    network : torch.nn.Module
        Its parameters, as they are now, are what is changed; they are copied.
    rank : int
        Of the changes of matrices. Those with fewer than twice as many rows or columns change as
        a whole.
    seed : int
        Of B.

    Raises
    ------
    ValueError
        If the rank is not positive.

    Examples
    --------
    >>> network = nn.Linear(40, 30)
    >>> change = LowRankChange(network, 2)
    >>> {name: tuple(value.shape) for name, value in change.named_parameters()}
    {'weight/left': (30, 2), 'weight/right': (2, 40), 'bias/whole': (30,)}
    """

    def __init__(self, network: nn.Module, rank: int, *, seed: int = 0) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1: {rank}")
        draw = torch.Generator().manual_seed(seed)
        self._base = {name: value.detach().clone() for name, value in network.named_parameters()}
        for name, value in self._base.items():
            if value.ndim == 2 and min(value.shape) >= 2 * rank:
                rows, columns = value.shape
                right = torch.randn(rank, columns, generator=draw) * columns**-0.5
                self._add(name + _LEFT, torch.zeros(rows, rank))
                self._add(name + _RIGHT, right)
            else:
                self._add(name + _WHOLE, torch.zeros_like(value))

    def _add(self, name: str, value: Tensor) -> None:
        self.register_parameter(_safe(name), nn.Parameter(value.to(torch.float32)))

    def fill(self, network: nn.Module) -> None:
        """Write the changed parameters into a network of the same form."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in network.named_parameters():
                left = own.get(_safe(name + _LEFT))
                value.copy_(self._base[name])
                if left is None:
                    value.add_(own[_safe(name + _WHOLE)])
                else:
                    value.add_(left @ own[_safe(name + _RIGHT)])

    def pull_back(self, network: nn.Module) -> None:
        """Set the gradients of A, B and Δ from those of the parameters of the network."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in network.named_parameters():
                slope = torch.zeros_like(value) if value.grad is None else value.grad
                left = own.get(_safe(name + _LEFT))
                if left is None:
                    own[_safe(name + _WHOLE)].grad = slope.clone()
                else:
                    right = own[_safe(name + _RIGHT)]
                    left.grad, right.grad = slope @ right.T, left.T @ slope

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be stored, in few bytes: all of it is small beside W."""
        made: dict[str, Tensor] = {}
        for name, value in self.named_parameters():
            made |= packed(name, value.detach())
        return made

    @classmethod
    def from_tensors(cls, network: nn.Module, stored: Mapping[str, Tensor]) -> LowRankChange:
        """Return the change that was stored.

        Raises
        ------
        ValueError
            If it is none of such a network.
        """
        tensors = unpacked(stored)
        ranks = {value.shape[0] for name, value in tensors.items() if name.endswith(_safe(_RIGHT))}
        if len(ranks) > 1:
            raise ValueError(f"matrices have different ranks: {sorted(ranks)}")
        # Without any low-rank matrix all are whole, as with a rank beyond their size.
        made = cls(network, ranks.pop() if ranks else 1 << 30)
        own = dict(made.named_parameters())
        if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in tensors.items()}:
            raise ValueError("the stored matrices belong to a network of another form")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[name])
        return made


def _safe(name: str) -> str:
    """Return a name that a module takes for a parameter: without dots."""
    return name.replace(".", "/")
