"""The network of a run: of the kind that its objective trains, fresh or grown from another."""

from __future__ import annotations

from typing import Any

import torch

from ase_continuousp.model.checkpoint import TrainedModel
from ase_continuousp.model.conditional import ConditionalEnergy
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.paper import PaperEnergy
from ase_continuousp.training.config import TrainConfig
from ase_continuousp.training.growth import grown

_KINDS: dict[str, Any] = {"continuous": ContinuousEnergy, "paper": PaperEnergy}


def build_network(config: TrainConfig, start_from: TrainedModel | None = None) -> Any:
    """Return the network that a run begins with.

    Parameters
    ----------
    config : TrainConfig
    start_from : TrainedModel, optional
        Whose weights to begin with, grown to the sizes of the config.

    Raises
    ------
    ValueError
        If the model cannot be grown to what is asked for.

    Examples
    --------
    >>> sizes = {"channels": 8, "vector_channels": 4, "n_layers": 2}
    >>> build_network(TrainConfig(objective="dsm", network=sizes)).kind
    'conditional'
    """
    made: Any = ConditionalEnergy if config.objective == "dsm" else _KINDS[config.energy]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = made(**config.network)
    return network if start_from is None else _grown(start_from, network, config.seed)


def _grown(model: TrainedModel, like: Any, seed: int) -> ContinuousEnergy:
    small, wanted = model.network, like.hyperparameters
    if not isinstance(small, ContinuousEnergy) or {small.kind, like.kind} != {"continuous"}:
        raise ValueError(
            f"start_from: only 'continuous' energies grow: {model.name!r} is of the kind "
            f"{model.card['kind']!r}, the run of {like.kind!r}"
        )
    names = ("channels", "vector_channels", "n_layers")
    network = grown(small, **{name: wanted[name] for name in names}, seed=seed)
    different = [k for k in wanted if network.hyperparameters[k] != wanted[k]]
    if different:
        name = different[0]
        raise ValueError(
            f"start_from: {model.name!r} has {name}={network.hyperparameters[name]}, "
            f"the config {wanted[name]}"
        )
    return network
