"""The training loop: resumable to the same result, average of the weights kept."""

from __future__ import annotations

import csv
import logging
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
from ase_continuousp.model.checkpoint import load_model, save_model
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.starts.priors import Priors
from ase_continuousp.training.batches import Batches
from ase_continuousp.training.config import TrainConfig
from ase_continuousp.training.data import read_crystals
from ase_continuousp.training.networks import build_network
from ase_continuousp.training.noise import NoiseLaw
from ase_continuousp.training.objectives.choice import make_objective
from ase_continuousp.training.objectives.interface import Objective
from ase_continuousp.training.precision.choice import make_precision
from ase_continuousp.training.precision.interface import Precision
from ase_continuousp.training.ranks import Ranks, joined_ranks
from ase_continuousp.training.run_state import Keeper, RunState, has_state
from ase_continuousp.training.update import update

_log = logging.getLogger(__name__)


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
    objective = make_objective(config.objective, config.law, config.objective_options)
    if ranks.count > 1 and config.objective == "pcd":
        raise ValueError("objective: the chains of 'pcd' live in one process")
    precision = make_precision(config.precision, seed=config.seed)
    state = _initial_state(config, objective, precision, start_from)
    if resume:
        state.load(folder, config.as_dict())
    folder.mkdir(parents=True, exist_ok=True)
    if ranks.is_first and not (folder / "priors.json").is_file():
        Priors.fit(crystals).save(folder / "priors.json")
    validation = None
    if val is not None:
        validation = _validation_set(read_crystals(val, processes=processes), config, objective)
    card = _card(config, crystals, sources, val, start_from) | objective.card
    ranks.wait()  # all have seen the folder as it was
    _run(config, state, crystals, objective, precision, validation, folder, card, progress, ranks)
    ranks.wait()
    return folder


def _initial_state(
    config: TrainConfig,
    objective: Objective,
    precision: Precision,
    start_from: str | os.PathLike[str] | None = None,
) -> RunState:
    network = build_network(config, None if start_from is None else load_model(start_from))
    optimizer = precision.optimizer(network, config.learning_rate, config.beta2)
    average = {k: v.detach().clone() for k, v in network.named_parameters()}
    rng = np.random.default_rng(config.seed)
    keepers: dict[str, Keeper] = {"objective": objective, "precision": precision}
    return RunState(network, optimizer, average, rng, keepers=keepers)


def _run(
    config: TrainConfig,
    state: RunState,
    crystals: Crystals,
    objective: Objective,
    precision: Precision,
    validation: Any,
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
            row = update(config, state, crystals, objective, precision, batches, ranks)
            state.seconds = time.monotonic() - started
            bar.update()
            bar.set_postfix(loss=f"{sum(row[p] for p in objective.parts):.3f}", refresh=False)
            if not ranks.is_first:
                continue
            done = state.step == config.steps
            validates = done or state.step % config.validate_every == 0
            if validates and validation is not None:
                row |= _validate(config, state, objective, validation)
            if state.step % 50 == 0 or validates:
                row |= {"step": state.step, "seconds": state.seconds}
                _append(folder / "log.csv", objective.parts, row)
            if done or state.step % config.checkpoint_every == 0:
                state.save(folder, config.as_dict())
                minutes = round(state.seconds / 60, 1)
                training = card["training"] | {"steps_done": state.step, "minutes": minutes}
                save_model(folder, state.network, state.weights(), card | {"training": training})


def _validation_set(crystals: Crystals, config: TrainConfig, objective: Objective) -> Any:
    rng = np.random.default_rng(1)  # the same crystals and noise whatever the seed of the run
    chosen = rng.permutation(len(crystals))[: config.validation_crystals]
    return objective.held_out(reduce_crystals(crystals.select(chosen)), rng)


def _validate(
    config: TrainConfig, state: RunState, objective: Objective, held_out: Any
) -> dict[str, float]:
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    averaged = build_network(config).to(dtype).eval()
    averaged.load_state_dict(state.weights())
    losses = objective.loss(averaged, held_out, dtype)
    named = {f"val_{k}": v for k, v in zip(objective.parts, losses, strict=True)}
    _log.info("step %d: validation %s", state.step, named)
    return named


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


def _append(path: Path, parts: Sequence[str], row: dict[str, float]) -> None:
    fields = ["step", "seconds", "learning_rate", *parts, "norm", "skipped"]
    fields += [f"val_{name}" for name in parts]
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
