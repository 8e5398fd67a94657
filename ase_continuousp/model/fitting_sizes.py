"""Can weights of this size belong to these hyperparameters: asked before memory is taken."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

_LARGEST = 4096  # of any hyperparameter
_DEEPEST = 64  # layers


def require_fit(hyperparameters: Any, weights: str | os.PathLike[str]) -> None:
    """Raise ValueError unless the file is large enough for a network of these hyperparameters.

    A card may come from anywhere, and one that asks for terabytes should cost nothing. Every layer
    holds at least one square matrix of its channels, so the network is no more than some fifty
    times as large as the file.

    Parameters
    ----------
    hyperparameters : dict of str to number
    weights : path

    Raises
    ------
    ValueError
        Or if a hyperparameter is no number, or out of all bounds.
    OSError
        If there is no such file.

    Examples
    --------
    >>> require_fit({"channels": 10**9}, "model.safetensors")
    Traceback (most recent call last):
    ...
    ValueError: channels must be a number from 0 to 4096: 1000000000
    """
    if not isinstance(hyperparameters, dict):
        raise ValueError(f"hyperparameters must be given by name: {hyperparameters!r}"[:200])
    for name, value in hyperparameters.items():
        largest = _DEEPEST if name in ("n_layers", "n_dense") else _LARGEST
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and math.isfinite(value) and 0 <= value <= largest):
            raise ValueError(f"{name} must be a number from 0 to {largest}: {value!r}"[:200])
    size = Path(weights).stat().st_size
    layers = max(1, hyperparameters.get("n_layers", 1), hyperparameters.get("n_dense", 1))
    for name in ("channels", "vector_channels"):
        if layers * hyperparameters.get(name, 0) ** 2 > size:
            raise ValueError(f"{size} bytes are too few for {name} of the card")
