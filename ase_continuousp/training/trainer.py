"""The training loop: resumable to the same result, average of the weights kept."""

from __future__ import annotations

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
from ase_continuousp.training.bad_rows import report_bad_rows
from ase_continuousp.training.batches import Batches
from ase_continuousp.training.config import ALONE, TrainConfig
from ase_continuousp.training.data import open_crystals
from ase_continuousp.training.interrupts import held_interrupts
from ase_continuousp.training.networks import build_network
from ase_continuousp.training.noise import NoiseLaw
from ase_continuousp.training.objectives.choice import make_objective
from ase_continuousp.training.objectives.interface import Objective
from ase_continuousp.training.precision.choice import make_precision
from ase_continuousp.training.precision.interface import Precision
from ase_continuousp.training.ranks import Ranks, joined_ranks
from ase_continuousp.training.run_log import RunLog
from ase_continuousp.training.run_state import Keeper, RunState, has_state
from ase_continuousp.training.stopping import explained
from ase_continuousp.training.store import CrystalFiles, CrystalStore
from ase_continuousp.training.update import update

_log = logging.getLogger(__name__)
_PRIOR_CRYSTALS = 100_000  # that priors are fitted to, in memory


def train(
    config: TrainConfig,
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    val: str | os.PathLike[str] | None = None,
    resume: bool = False,
    start_from: str | os.PathLike[str] | None = None,
    strict: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Train an energy on crystals and write a model folder.

    The folder holds the averaged weights, the card and the priors (together a model that
    :func:`ase_continuousp.load_model` reads), the state of the run, written every
    ``checkpoint_every`` updates and on Ctrl-C, and ``log.csv``. An interrupted run that is
    resumed ends with the same weights as one that was not.

    Bad rows of the data are left out and listed in ``bad_rows.csv``. Under torchrun, or within
    :func:`ase_continuousp.training.lightning_launch.launch`, the processes share every batch.

    Parameters
    ----------
    config : TrainConfig
    data : path or sequence of paths
        Training files or folders, see :func:`ase_continuousp.io.rows.iterate_rows`. They are
        drawn from on the disk, so that they may exceed the memory.
    out : path
        Folder of the model and of the run.
    val : path, optional
        Validation file: its loss is logged. Nothing is chosen by it.
    resume : bool
        Go on with the run in `out`; without it a folder that holds a run is refused.
    start_from : str or path, optional
        A model whose weights a new run begins with, grown to the sizes that the config asks for
        (:func:`ase_continuousp.training.growth.grown`).
    strict : bool
        Refuse data with bad rows.
    tensorboard : path, optional
        Folder of event files for TensorBoard (extra ``train``).
    processes : int
        Worker processes that parse data. More than one needs a script with the usual
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
        for; if no row of a data file is good, or one is bad and `strict` is set; if the loss is
        no longer finite.
    OSError
        If something cannot be written; the last checkpoint is kept, and named.

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
    folder = Path(out)
    sources = [data] if isinstance(data, str | os.PathLike) else list(data)
    with joined_ranks() as ranks:
        if resume != has_state(folder):
            wanted = (
                "holds no run to resume"
                if resume
                else "already holds a run; resume it or choose another"
            )
            raise ValueError(f"out: {folder} {wanted}")
        shown = progress and ranks.is_first
        stores = [open_crystals(s, processes=processes, progress=shown) for s in sources]
        held_out = [] if val is None else [open_crystals(val, processes=processes, progress=shown)]
        crystals = CrystalFiles(stores)
        with explained(crystals, folder):
            report_bad_rows(stores + held_out, folder if ranks.is_first else None, strict=strict)
        objective = make_objective(config.objective, config.law, config.objective_options)
        if ranks.count > 1 and config.objective in ALONE:
            raise ValueError(f"objective: the chains of {config.objective!r} live in one process")
        precision = make_precision(config.precision, seed=config.seed)
        state = _initial_state(config, objective, precision, start_from)
        # The names of the caches say what the files held.
        settings = config.as_dict() | {"data": [store.folder.name for store in stores]}
        if resume:
            state.load(folder, settings)
        card = _card(config, crystals, sources, val, start_from) | objective.card
        validation = held_out_set(held_out[0], config, objective) if held_out else None
        with explained(crystals, folder):
            folder.mkdir(parents=True, exist_ok=True)
            if ranks.is_first and not (folder / "priors.json").is_file():
                Priors.fit(_some(crystals)).save(folder / "priors.json")
            ranks.wait()  # all have seen the folder as it was
            fields = ["step", "seconds", "learning_rate", *objective.parts, "norm", "skipped"]
            fields += [f"val_{name}" for name in objective.parts]
            with RunLog(folder / "log.csv", fields, state.step, tensorboard, ranks.is_first) as log:
                _run(config, state, crystals, objective, precision, validation, log, ranks,
                     folder, card, settings, shown)  # fmt: skip
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
    crystals: CrystalFiles,
    objective: Objective,
    precision: Precision,
    validation: Any,
    log: RunLog,
    ranks: Ranks,
    folder: Path,
    card: dict[str, Any],
    settings: dict[str, Any],
    shown: bool,
) -> None:
    started = time.monotonic() - state.seconds
    batches = Batches(crystals.counts, config.batch_size, config.seed)
    bar = tqdm(total=config.steps, initial=state.step, disable=not shown, unit="step")
    # Ranks would wait for one that stopped.
    with bar, held_interrupts(ranks.count == 1) as was_pressed:
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
                log.write(row | {"step": state.step, "seconds": state.seconds})
            is_interrupted = was_pressed()
            if done or is_interrupted or state.step % config.checkpoint_every == 0:
                state.save(folder, settings)
                minutes = round(state.seconds / 60, 1)
                training = card["training"] | {"steps_done": state.step, "minutes": minutes}
                save_model(folder, state.network, state.weights(), card | {"training": training})
            if is_interrupted and not done:
                raise KeyboardInterrupt


def _some(crystals: CrystalFiles) -> Crystals:
    n = len(crystals)
    if n <= _PRIOR_CRYSTALS:
        return reduce_crystals(crystals.all())
    rows = np.random.default_rng(0).choice(n, _PRIOR_CRYSTALS, replace=False)
    return reduce_crystals(crystals.select(np.sort(rows)))


def held_out_set(
    crystals: CrystalStore | Crystals, config: TrainConfig, objective: Objective
) -> Any:
    """Return what a run validates on: the same crystals and noise whatever its seed."""
    rng = np.random.default_rng(1)
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
    crystals: CrystalFiles,
    sources: Sequence[str | os.PathLike[str]],
    val: str | os.PathLike[str] | None,
    start_from: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    begun = {} if start_from is None else {"started_from": Path(start_from).name}
    return {
        "elements": list(crystals.elements),
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
