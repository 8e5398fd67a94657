"""A model folder that takes no training: fixed random weights, a card, fitted priors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from ase.build import bulk

from ase_continuousp.io import from_atoms
from ase_continuousp.model.checkpoint import save_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.list_ranker import ListNetwork, ListRanker
from ase_continuousp.search.facts import FACTS
from ase_continuousp.starts.priors import Priors
from tests.strategies import COMMON_ELEMENTS
from tests.systems import PERIODIC, perovskite

NUMBERS = {int(z) for atoms in PERIODIC.values() for z in atoms.numbers} - {92}
ELEMENTS = sorted({*COMMON_ELEMENTS, *NUMBERS, 28})


def save_tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    priors: bool = True,
    network: Mapping[str, float] | None = None,
    **card: object,
) -> Path:
    """Write the model and return its folder. Uranium and tungsten are not among its elements."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"channels": 8, "vector_channels": 4, "n_layers": 2}
        made = ContinuousEnergy(**(sizes | dict(network or {})))
    training = {"data": ["none"], "crystals": 0, "minutes": 0}
    save_model(
        folder, made, made.state_dict(), {"elements": ELEMENTS, "training": training, **card}
    )
    if priors:
        rows = [perovskite(), perovskite("Ba"), bulk("NaCl", "rocksalt", a=5.64), bulk("Cu")]
        Priors.fit(from_atoms(rows), n_steps=50).save(folder / "priors.json")
    return folder


def random_ranker(seed: int = 0) -> ListRanker:
    """Return a small ranker whose scores mean nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ListNetwork(FACTS, channels=8)
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return ListRanker(network)
