"""Precisions by name."""

from __future__ import annotations

import torch

from ase_continuousp.training.precision.full import Full
from ase_continuousp.training.precision.interface import Precision
from ase_continuousp.training.precision.low import Low
from ase_continuousp.training.precision.mixed import Mixed
from ase_continuousp.training.precision.rounding import nearest, stochastic


def make_precision(name: str, *, seed: int = 0) -> Precision:
    """Return the precision of that name, see :data:`ase_continuousp.training.config.PRECISIONS`.

    Examples
    --------
    >>> make_precision("fp64").dtype
    torch.float64
    """
    if name == "fp32":
        return Full(torch.float32)
    if name == "fp64":
        return Full(torch.float64)
    if name == "fp16-mixed":
        return Mixed(torch.float16)
    if name == "bf16-mixed":
        return Mixed(torch.bfloat16)
    if name == "bf16-sr":
        return Low(stochastic, seed=seed)
    if name == "bf16":
        return Low(nearest, seed=seed)
    raise ValueError(f"precision: unknown name {name!r}")
