"""Do hyperparameters and weights belong together: asked before any memory is taken for them."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from safetensors import safe_open

_LARGEST = 4096  # of any hyperparameter
_DEEPEST = 64  # layers


def require_fit(
    network: type[torch.nn.Module], hyperparameters: Any, weights: str | os.PathLike[str]
) -> None:
    """Raise ValueError unless a network of these hyperparameters has the tensors of the file.

    A card may come from anywhere. Sizes are compared by name and shape alone, so that a card that
    asks for terabytes costs nothing.

    Parameters
    ----------
    network : subclass of torch.nn.Module
    hyperparameters : dict of str to number
    weights : path
        A safetensors file.

    Examples
    --------
    >>> from ase_continuousp import load_model
    >>> model = load_model("perov5")
    >>> require_fit(type(model.network), {"channels": -1}, model.path / "model.safetensors")
    Traceback (most recent call last):
    ...
    ValueError: channels must be a number from 0 to 4096: -1
    """
    if not isinstance(hyperparameters, dict):
        raise ValueError(f"hyperparameters must be given by name: {hyperparameters!r}"[:200])
    for name, value in hyperparameters.items():
        largest = _DEEPEST if name in ("n_layers", "n_dense") else _LARGEST
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and math.isfinite(value) and 0 <= value <= largest):
            raise ValueError(f"{name} must be a number from 0 to {largest}: {value!r}"[:200])
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        wanted = {
            name: list(t.shape) for name, t in network(**hyperparameters).state_dict().items()
        }
    with safe_open(weights, framework="pt") as stream:
        given = {name: stream.get_slice(name).get_shape() for name in stream.keys()}  # noqa: SIM118
    if given != wanted:
        odd = min(n for n in given.keys() | wanted.keys() if given.get(n) != wanted.get(n))
        raise ValueError(f"{odd} is {given.get(odd)} in the file, {wanted.get(odd)} by the card")
