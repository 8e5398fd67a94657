"""The processes that share a training run, and sums over them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """A process among those that share a run.

    Parameters
    ----------
    index : int
        Of this process, from 0.
    count : int
        How many there are.

    Examples
    --------
    >>> alone = Ranks()
    >>> alone.is_first, alone.sum_gradients([], (1.0, 2.0))
    (True, (1.0, 2.0))
    """

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def sum_gradients(
        self, parameters: Sequence[torch.nn.Parameter], losses: tuple[float, ...]
    ) -> tuple[float, ...]:
        """Sum the gradients over all processes, in place, and return the sums of the losses.

        The parts of a batch are weighted when they are computed (each is divided by the size of
        the whole batch), so plain sums are right however unequal the parts. All processes receive
        the same bits.
        """
        if self.count == 1:
            return losses
        gradients = [p.grad for p in parameters if p.grad is not None]
        # One message: the losses travel as the last entries.
        flat = torch.cat([g.reshape(-1).double() for g in gradients])
        flat = torch.cat([flat, torch.tensor(losses, dtype=flat.dtype, device=flat.device)])
        distributed.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return tuple(flat[start:].tolist())

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started, or that have been joined before, while inside.

    Examples
    --------
    >>> with joined_ranks() as ranks:
    ...     ranks.count
    1
    """
    if distributed.is_available() and distributed.is_initialized():
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
        return
    # What torchrun leaves in the environment of each process.
    if not distributed.is_available() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    distributed.init_process_group("gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
