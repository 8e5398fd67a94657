"""Batches of starts as jobs, run here or on the workers of an executor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.judge import JUDGE, Judge
from ase_continuousp.model.polish import POLISH, Polish
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.search.chains import sample_starts
from ase_continuousp.search.executors import as_executor
from ase_continuousp.search.parents import with_parents
from ase_continuousp.search.refine import Refined, judged, polished, refine_starts
from ase_continuousp.starts import StartCrystal

_BATCH_ATOMS = 640  # a batch that keeps one core busy and its pairs in the cache


@dataclass(frozen=True)
class Job:
    """A batch of starts and all that a worker needs to refine it.

    Parameters
    ----------
    model : str
        Name or folder.
    device : str
    starts : tuple of StartCrystal
    settings : AnnealSettings
    seed : tuple of int
        Of the random stream of this batch.
    with_basins : bool
        Whether to learn where a quench would lead what is taken as built.
    keeps_symmetry : bool
        Whether each crystal stays in the space group that it starts in.
    preset : str, optional
        "paper" takes the sampler of the paper instead of short anneals, with `n_steps` of the
        settings.
    with_parents : bool
        Whether to judge what prototypes were made from as well.
    """

    model: str
    device: str
    starts: tuple[StartCrystal, ...]
    settings: AnnealSettings
    seed: tuple[int, ...]
    with_basins: bool = True
    keeps_symmetry: bool = False
    preset: str | None = None
    with_parents: bool = False


def batches_of(sizes: Sequence[int], batch_size: int | None = None) -> list[list[int]]:
    """Return indices in batches, crystals of like size together.

    Parameters
    ----------
    sizes : sequence of int
        Atoms of each crystal.
    batch_size : int, optional
        Crystals in a batch. If not given, as many as hold some 640 atoms.

    Raises
    ------
    ValueError
        If batch_size is not positive.

    Examples
    --------
    >>> batches_of([400, 20, 400, 20], None), batches_of([1, 2, 3], 2)
    ([[1, 3, 0], [2]], [[0, 1], [2]])
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1: {batch_size}")
    batches: list[list[int]] = []
    atoms = 0
    for index in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        full = not batches or (
            atoms + sizes[index] > _BATCH_ATOMS
            if batch_size is None
            else len(batches[-1]) == batch_size
        )
        if full:
            batches.append([])
            atoms = 0
        batches[-1].append(index)
        atoms += sizes[index]
    return batches


def run_job(job: Job) -> list[Refined]:
    """Refine the starts of a job; a function of its own, so that workers find it."""
    energy = _energy_of(job.model, job.device)
    rng = np.random.default_rng(job.seed)
    preset = job.preset or _sampler_of(job.model)
    if preset is not None:
        sampler, per_crystal = PaperSampler(job.settings.n_steps), preset == "per crystal"
        made = sample_starts(energy, job.starts, sampler, rng, per_crystal=per_crystal)
    else:
        made = refine_starts(
            energy,
            job.starts,
            job.settings,
            rng,
            with_basins=job.with_basins,
            keeps_symmetry=job.keeps_symmetry,
        )
    judge = _judge_of(job.model, job.device)
    if judge is not None:
        made = judged(made, judge)
        if job.with_parents:
            made = with_parents(made, judge, energy)
    polish = _polish_of(job.model, job.device)
    if polish is None or job.preset is not None or not job.settings.quench_steps:
        return made  # what is not to be relaxed is not to be moved
    return polished(made, polish, energy, keeps_symmetry=job.keeps_symmetry)


def refine_all(
    model: TrainedModel,
    starts: Sequence[StartCrystal],
    settings: AnnealSettings,
    *,
    seed: int,
    device: str = "auto",
    batch_size: int | None = None,
    with_basins: bool = True,
    keeps_symmetry: bool = False,
    preset: str | None = None,
    with_parents: bool = False,
    executor: Any = None,
    progress: bool = False,
) -> list[Refined]:
    """Refine any number of starts in batches.

    Batches and their random streams do not depend on the executor, so neither does the result.

    Parameters
    ----------
    model : TrainedModel
    starts : sequence of StartCrystal
    settings : AnnealSettings
    seed : int
    device : str
    batch_size : int, optional
        Crystals in a batch.
    with_basins : bool
        Whether to learn where a quench would lead what is taken as built.
    keeps_symmetry : bool
        Whether each crystal stays in the space group that it starts in.
    preset, with_parents
        As of :class:`Job`.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Where to compute; in this process if not given.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Refined, in the order of the starts
    """
    batches = batches_of([start.crystals.n_atoms for start in starts], batch_size)
    jobs = [
        Job(
            model_key(model),
            device,
            tuple(starts[i] for i in batch),
            settings,
            (seed, number),
            with_basins,
            keeps_symmetry,
            preset,
            with_parents,
        )
        for number, batch in enumerate(batches)
    ]
    made: dict[int, Refined] = {}
    bar = tqdm(total=len(starts), desc="annealing", unit="crystal", disable=not progress)
    with bar:
        for number, done in _run(jobs, executor):
            made.update(zip(batches[number], done, strict=True))
            bar.update(len(done))
    return [made[i] for i in range(len(starts))]


def model_key(model: TrainedModel) -> str:
    """Return what a worker has to load: the absolute folder of the model."""
    return os.path.abspath(model.path)


def _run(jobs: Sequence[Job], executor: Any) -> Iterator[tuple[int, list[Refined]]]:
    if executor is None:
        for number, job in enumerate(jobs):
            yield number, run_job(job)
        return
    pool = as_executor(executor)
    waiting = {pool.submit(run_job, job): number for number, job in enumerate(jobs)}
    for future in as_completed(waiting):
        yield waiting[future], future.result()


@lru_cache(maxsize=2)
def _energy_of(model: str, device: str) -> ModelEnergy:
    return load_model(model).energy(device=device)


@lru_cache(maxsize=2)
def _sampler_of(model: str) -> str | None:
    """Return the preset that a model trained with chains asks for."""
    sampler: str | None = load_model(model).card.get("sampler")
    return sampler


@lru_cache(maxsize=2)
def _judge_of(model: str, device: str) -> Judge | None:
    path = Path(model) / JUDGE
    if not path.is_file():
        return None
    return Judge.load(path, device=_energy_of(model, device).device)


@lru_cache(maxsize=2)
def _polish_of(model: str, device: str) -> Polish | None:
    path = Path(model) / POLISH
    if not path.is_file():
        return None
    return Polish.load(path, load_model(model), device=_energy_of(model, device).device)
