"""Parameters in as few bytes as their digits are worth."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_SCALE = ".scale"


def packed(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a matrix as 8-bit integers and a scale per row, a vector in half precision.

    Examples
    --------
    >>> sorted(packed("weight", torch.ones(2, 3)))
    ['weight', 'weight.scale']
    """
    if value.ndim < 2:
        return {name: value.half().contiguous()}
    rows = value.reshape(len(value), -1)
    scale = (rows.abs().amax(1, keepdim=True) / 127.0).clamp_min(1e-12)
    return {
        name: torch.round(rows / scale).to(torch.int8).reshape(value.shape).contiguous(),
        name + _SCALE: scale[:, 0].contiguous(),
    }


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters that :func:`packed` made these tensors of.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 0.5], [20.0, -30.0]])
    >>> bool((unpacked(packed("weight", weight))["weight"] - weight).abs().max() < 0.2)
    True
    """
    return {
        name: _unpacked(value, stored.get(name + _SCALE))
        for name, value in stored.items()
        if not name.endswith(_SCALE)
    }


def _unpacked(value: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return value.float()
    return value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
