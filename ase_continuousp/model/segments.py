"""Sums over the pairs of each atom, by torch-scatter on CUDA devices if it is there."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor


def segment_sum(values: Tensor, index: Tensor, first: Tensor) -> Tensor:
    """Return the sums of the rows of each segment.

    torch-scatter adds each segment by itself, so that sums on a CUDA device are the same in every
    run, which those of torch are not. Which is faster was never measured on one.

    Parameters
    ----------
    values : (n, ...) tensor
        Rows beyond ``first[-1]`` must be zero.
    index : (n,) int64 tensor
        Segment of each row, ascending up to ``first[-1]``.
    first : (n_segments + 1,) int64 tensor
        Rows of segment k are ``first[k]:first[k + 1]``.

    Returns
    -------
    (n_segments, ...) tensor

    Examples
    --------
    >>> import torch
    >>> rows = torch.tensor([1.0, 2.0, 4.0])
    >>> segment_sum(rows, torch.tensor([0, 0, 2]), torch.tensor([0, 2, 2, 3])).tolist()
    [3.0, 0.0, 4.0]
    """
    if values.is_cuda and find_spec("torch_scatter") is not None:
        return scatter_sum(values, first)
    return native_sum(values, index, first)


def native_sum(values: Tensor, index: Tensor, first: Tensor) -> Tensor:
    """Return the sums by torch's own operation, the same on every device up to rounding."""
    return values.new_zeros((len(first) - 1, *values.shape[1:])).index_add(0, index, values)


def scatter_sum(values: Tensor, first: Tensor) -> Tensor:
    """Return the sums by torch-scatter."""
    made: Tensor = _torch_scatter().segment_csr(values.contiguous(), first, reduce="sum")
    return made


@cache
def _torch_scatter() -> Any:
    return import_module("torch_scatter")
