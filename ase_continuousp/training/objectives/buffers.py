"""Buffers of crystals as tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals

_ARRAYS = ("positions", "cells", "numbers", "offsets")


def to_tensors(buffer: Sequence[Crystals], prefix: str = "") -> dict[str, Tensor]:
    """Return the arrays of single crystals, one after the other; nothing of an empty buffer.

    Parameters
    ----------
    buffer : sequence of Crystals
        Batches of one.
    prefix : str
        Of the names.

    Examples
    --------
    >>> import numpy as np
    >>> po = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> kept = to_tensors([po, po], "data.")
    >>> kept["data.numbers"].tolist(), len(from_tensors(kept, "data.")), from_tensors(kept)
    ([84, 84], 2, [])
    """
    if not buffer:
        return {}
    batch = Crystals.concatenate(buffer)
    return {f"{prefix}{name}": torch.from_numpy(getattr(batch, name)) for name in _ARRAYS}


def from_tensors(tensors: Mapping[str, Tensor], prefix: str = "") -> list[Crystals]:
    """Return the buffer that `to_tensors` was given.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    prefix : str
        Of the names.
    """
    if f"{prefix}positions" not in tensors:
        return []
    return list(Crystals(*(tensors[f"{prefix}{name}"].numpy() for name in _ARRAYS)))
