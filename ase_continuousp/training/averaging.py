"""One model of several: the mean of their weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from ase_continuousp.io.replacing import replacing
from ase_continuousp.model.checkpoint import load_model, save_model
from ase_continuousp.search.sources import PRIORS, PROTOTYPES

# What a card says of weights that are no longer these.
_OF_OTHER_WEIGHTS = ("measured", "ranking")


def average_models(models: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Path:
    """Write the model whose weights are the mean of those of others.

    Between weights of which some were trained on from the others the loss is often lower than at
    either end (Wortsman et al. 2022, arXiv:2203.05482): for `perov5`, what score matching gave and
    what a contrast made of it. Priors, prototypes and settings are those of the first model; what
    was fitted to its energies (judge, polish, ranking, unit of energy) is left out.

    Parameters
    ----------
    models : sequence of str or path
        Two or more, with networks of one form.
    out : path
        A new folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If there are fewer than two models, their networks or elements differ, or the folder holds
        a model.

    Examples
    --------
    >>> average_models(["perov5"], "mean")
    Traceback (most recent call last):
    ValueError: models must be two or more: 1
    """
    if len(models) < 2:
        raise ValueError(f"models must be two or more: {len(models)}")
    out = Path(out)
    if out.exists():
        raise ValueError(f"out must be a new folder: {out}")
    trained = [load_model(model) for model in models]
    first = trained[0]
    for other in trained[1:]:
        for name in ("kind", "hyperparameters", "elements"):
            if other.card[name] != first.card[name]:
                raise ValueError(f"models must have the same {name}: {first.name}, {other.name}")
    states = [one.network.state_dict() for one in trained]
    with torch.no_grad():
        mean = {
            name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
            for name, value in states[0].items()
        }
    card = {k: v for k, v in first.card.items() if k not in _OF_OTHER_WEIGHTS}
    about = [one.card.get("training", {}) | {"model": one.name} for one in trained]
    card["training"] = {**first.card.get("training", {}), "mean_of": about}
    save_model(out, first.network, mean, card)
    for file in (PRIORS, PROTOTYPES):
        source = first.path / file
        if source.is_file():
            with replacing(out / file) as draft:
                shutil.copyfile(source, draft)
    return out
