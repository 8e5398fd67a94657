"""The training loop: resumable to the same result, average of the weights kept."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel, load_model, save_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.starts.priors import Priors
from ase_continuousp.training.batches import Batches
from ase_continuousp.training.config import TrainConfig
from ase_continuousp.training.data import read_crystals
from ase_continuousp.training.growth import grown
from ase_continuousp.training.noise import Noised, NoiseLaw
from ase_continuousp.training.objectives.score import ScoreMatching
from ase_continuousp.training.ranks import Ranks, joined_ranks
from ase_continuousp.training.run_state import RunState, has_state

_log = logging.getLogger(__name__)
_DTYPES = {"fp32": torch.float32, "fp64": torch.float64}
_LOG_FIELDS = ("step", "seconds", "learning_rate", "position_loss", "strain_loss", "norm",
               "val_position_loss", "val_strain_loss")  # fmt: skip


def train(
    config: TrainConfig,
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    val: str | os.PathLike[str] | None = None,
    resume: bool = False,
    start_from: str | os.PathLike[str] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Train an energy on crystals and write a model folder.

    The folder holds the averaged weights, the card and the priors (together a model that
    :func:`ase_continuousp.load_model` reads), the state of the run, written every
    ``checkpoint_every`` updates, and ``log.csv``. An interrupted run that is resumed ends with
    the same weights as one that was not.

    Parameters
    ----------
    config : TrainConfig
    data : path or sequence of paths
        Training files, see :func:`ase_continuousp.training.data.read_crystals`.
    out : path
        Folder of the model and of the run.
    val : path, optional
        Validation file: its loss is logged. Nothing is chosen by it.
    resume : bool
        Go on with the run in `out`; without it a folder that holds a run is refused.
    start_from : str or path, optional
        A model whose weights a new run begins with, grown to the sizes that the config asks for
        (:func:`ase_continuousp.training.growth.grown`).
    processes : int
        Worker processes that parse CIFs. More than one needs a script with the usual
        ``if __name__ == "__main__"`` guard.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    ValueError
        If the folder holds a run and `resume` is false, or the other way round, or the
        run was started with other settings; if `start_from` cannot be grown to the sizes asked
        for; if the loss is no longer finite.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> from ase_continuousp import load_model
    >>> config = TrainConfig(
    ...     steps=2, batch_size=2, network={"channels": 8, "vector_channels": 4, "n_layers": 2}
    ... )
    >>> with TemporaryDirectory() as folder:
    ...     for a in (5.5, 5.7):
    ...         bulk("NaCl", "rocksalt", a=a).write(f"{folder}/salt.extxyz", append=True)
    ...     load_model(train(config, f"{folder}/salt.extxyz", f"{folder}/salt")).elements
    (11, 17)
    """
    with joined_ranks() as ranks:
        return _train(config, data, Path(out), val, resume, start_from, processes, progress, ranks)


def _train(
    config: TrainConfig,
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    folder: Path,
    val: str | os.PathLike[str] | None,
    resume: bool,
    start_from: str | os.PathLike[str] | None,
    processes: int,
    progress: bool,
    ranks: Ranks,
) -> Path:
    if resume != has_state(folder):
        wanted = (
            "holds no run to resume"
            if resume
            else "already holds a run; resume it or choose another"
        )
        raise ValueError(f"out: {folder} {wanted}")
    sources = [data] if isinstance(data, str | os.PathLike) else list(data)
    crystals = reduce_crystals(
        Crystals.concatenate(
            [read_crystals(s, processes=processes, progress=progress) for s in sources]
        )
    )
    state = _initial_state(config, start_from)
    if resume:
        state.load(folder, config.as_dict())
    folder.mkdir(parents=True, exist_ok=True)
    if ranks.is_first and not (folder / "priors.json").is_file():
        Priors.fit(crystals).save(folder / "priors.json")
    objective = ScoreMatching(law=NoiseLaw(**config.law))
    validation = None
    if val is not None:
        validation = _validation_set(read_crystals(val, processes=processes), config, objective)
    card = _card(config, crystals, sources, val, start_from)
    ranks.wait()  # all have seen the folder as it was
    _run(config, state, crystals, objective, validation, folder, card, progress, ranks)
    ranks.wait()
    return folder


def _initial_state(
    config: TrainConfig, start_from: str | os.PathLike[str] | None = None
) -> RunState:
    dtype = _DTYPES[config.precision]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ContinuousEnergy(**config.network).to(dtype)
    if start_from is not None:
        network = _grown(load_model(start_from), network, config.seed).to(dtype)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), foreach=True
    )
    average = {k: v.detach().clone() for k, v in network.named_parameters()}
    return RunState(network, optimizer, average, np.random.default_rng(config.seed))


def _grown(model: TrainedModel, like: ContinuousEnergy, seed: int) -> ContinuousEnergy:
    small, wanted = model.network, like.hyperparameters
    if not isinstance(small, ContinuousEnergy):
        raise ValueError(f"start_from: {model.name!r} is not of the kind {like.kind!r}")
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


def _run(
    config: TrainConfig,
    state: RunState,
    crystals: Crystals,
    objective: ScoreMatching,
    validation: Noised | None,
    folder: Path,
    card: dict[str, Any],
    progress: bool,
    ranks: Ranks,
) -> None:
    started = time.monotonic() - state.seconds
    batches = Batches(crystals.counts, config.batch_size, config.seed)
    hidden = not (progress and ranks.is_first)
    bar = tqdm(total=config.steps, initial=state.step, disable=hidden, unit="step")
    with bar:
        while state.step < config.steps:
            row = _update(config, state, crystals, objective, batches, ranks)
            state.seconds = time.monotonic() - started
            bar.update()
            bar.set_postfix(loss=f"{row['position_loss'] + row['strain_loss']:.3f}", refresh=False)
            if not ranks.is_first:
                continue
            done = state.step == config.steps
            validates = done or state.step % config.validate_every == 0
            if validates and validation is not None:
                row |= _validate(config, state, objective, validation)
            if state.step % 50 == 0 or validates:
                _append(folder / "log.csv", row | {"step": state.step, "seconds": state.seconds})
            if done or state.step % config.checkpoint_every == 0:
                state.save(folder, config.as_dict())
                minutes = round(state.seconds / 60, 1)
                training = card["training"] | {"steps_done": state.step, "minutes": minutes}
                save_model(folder, state.network, state.average, card | {"training": training})


def _update(
    config: TrainConfig,
    state: RunState,
    crystals: Crystals,
    objective: ScoreMatching,
    batches: Batches,
    ranks: Ranks,
) -> dict[str, float]:
    part = batches.part(state.step, ranks.index, ranks.count)
    chosen = crystals.select(part.rows)
    noised = objective.noised(chosen, part.streams(chosen))
    state.optimizer.zero_grad()
    losses = objective.accumulate(state.network, noised, _DTYPES[config.precision], part)
    position_loss, strain_loss = ranks.sum_gradients(list(state.network.parameters()), losses)
    if not math.isfinite(position_loss + strain_loss):
        raise ValueError(
            f"the loss is not finite at step {state.step + 1}: lower learning_rate "
            f"(now {config.learning_rate}) and resume from the last checkpoint"
        )
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
    rate = config.learning_rate * schedule(state.step, config.steps, config.warmup)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    state.step += 1
    state.update_average(config.ema)
    return {
        "learning_rate": rate,
        "position_loss": position_loss,
        "strain_loss": strain_loss,
        "norm": float(norm),
    }


def schedule(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine to zero.

    Examples
    --------
    >>> schedule(0, 100, 10), schedule(10, 100, 10), round(schedule(55, 100, 10), 3)
    (0.1, 1.0, 0.5)
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _validation_set(crystals: Crystals, config: TrainConfig, objective: ScoreMatching) -> Noised:
    rng = np.random.default_rng(1)  # the same crystals and noise whatever the seed of the run
    chosen = rng.permutation(len(crystals))[: config.validation_crystals]
    return objective.noised(reduce_crystals(crystals.select(chosen)), rng)


def _validate(
    config: TrainConfig, state: RunState, objective: ScoreMatching, noised: Noised
) -> dict[str, float]:
    dtype = _DTYPES[config.precision]
    averaged = ContinuousEnergy(**config.network).to(dtype)
    averaged.load_state_dict(state.average)
    position_loss, strain_loss = objective.loss(averaged, noised, dtype)
    _log.info("step %d: validation %.4f %.4f", state.step, position_loss, strain_loss)
    return {"val_position_loss": position_loss, "val_strain_loss": strain_loss}


def _card(
    config: TrainConfig,
    crystals: Crystals,
    sources: Sequence[str | os.PathLike[str]],
    val: str | os.PathLike[str] | None,
    start_from: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    begun = {} if start_from is None else {"started_from": Path(start_from).name}
    return {
        "elements": np.unique(crystals.numbers).tolist(),
        "energy_unit": 1.0,
        "training": {
            "data": [_label(s) for s in sources],
            "validation": None if val is None else _label(val),
            "crystals": len(crystals),
            # In full: defaults may change.
            "config": config.as_dict() | {"law": asdict(NoiseLaw(**config.law))},
            **begun,
        },
    }


def _label(path: str | os.PathLike[str]) -> str:
    # The last folder and the bare name say which data, whatever machine it lay on.
    path = Path(path)
    return f"{path.parent.name}/{path.name.split('.')[0]}".lstrip("/")


def _append(path: Path, row: dict[str, float]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _LOG_FIELDS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
