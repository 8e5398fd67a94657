"""Starts to refined crystals: batches of short anneals, here or on the workers of an executor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation
from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.judge import JUDGE, Judge
from ase_continuousp.sampling.annealing import AnnealSettings, anneal
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.sampling.symmetry import SymmetryProjection
from ase_continuousp.starts import StartCrystal

Floats = NDArray[np.float64]

_BATCH_ATOMS = 640  # a batch that keeps one core busy and its pairs in the cache


@dataclass(frozen=True)
class Refined:
    """A crystal after annealing and quench.

    Parameters
    ----------
    crystals : Crystals
        A batch of one.
    energy : float
        Of the cell, in units of the model.
    forces : (n_atoms, 3) array
    stress : (3, 3) array
    converged : bool
        Whether the quench reached its tolerance; true where none was asked for.
    start : StartCrystal
        Where it came from.
    trace : (n_evaluations,) array
        Energy per atom along the way; one value if it was taken as built.
    basin_energy : float, optional
        Of the minimum that a quench from here leads to, if it is another than here.
    log_odds : float, optional
        What the judge of the model says, if it has one.
    """

    crystals: Crystals
    energy: float
    forces: Floats
    stress: Floats
    converged: bool
    start: StartCrystal
    trace: Floats
    basin_energy: float | None = None
    log_odds: float | None = None

    @property
    def energy_per_atom(self) -> float:
        """Energy divided by the number of atoms."""
        return self.energy / self.crystals.n_atoms

    @property
    def basin_energy_per_atom(self) -> float:
        """Energy of the minimum that a quench leads to, divided by the number of atoms."""
        energy = self.energy if self.basin_energy is None else self.basin_energy
        return energy / self.crystals.n_atoms

    @property
    def is_finite(self) -> bool:
        """Whether energy, positions and cell are numbers, and the cell has a volume."""
        finite = np.isfinite(self.energy) and np.isfinite(self.crystals.positions).all()
        return bool(finite and np.isfinite(self.crystals.cells).all()) and (
            self.crystals.volumes[0] > 1e-6
        )


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
    """

    model: str
    device: str
    starts: tuple[StartCrystal, ...]
    settings: AnnealSettings
    seed: tuple[int, ...]
    with_basins: bool = True
    keeps_symmetry: bool = False
    preset: str | None = None


def anneal_settings(
    model: TrainedModel, *, n_steps: int | None = None, relax: bool = True
) -> AnnealSettings:
    """Return the settings that the card of a model asks for, with changes.

    Parameters
    ----------
    model : TrainedModel
        Its card may hold an entry "anneal" with values of AnnealSettings.
    n_steps : int, optional
        Instead of the model's.
    relax : bool
        Whether to quench at the end.

    Raises
    ------
    ValueError
        If n_steps is negative or the card holds an unknown setting.
    """
    try:
        settings = AnnealSettings(**model.card.get("anneal", {}))
    except TypeError as error:
        raise ValueError(f"model {model.name!r}: its card has a wrong setting: {error}") from None
    if n_steps is not None:
        settings = replace(settings, n_steps=n_steps)
    return settings if relax else replace(settings, quench_steps=0)


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


def refine_starts(
    energy: EnergyFunction,
    starts: Sequence[StartCrystal],
    settings: AnnealSettings,
    rng: np.random.Generator,
    *,
    with_basins: bool = True,
    keeps_symmetry: bool = False,
) -> list[Refined]:
    """Anneal and quench a batch of starts, each from its own level of noise.

    Starts of level 0 are taken as they are: prototypes are built with averaged positions, and a
    quench with a small model moves them away from the truth. Where a quench would lead is
    judged all the same, by its energy.

    Parameters
    ----------
    energy : EnergyFunction
    starts : sequence of StartCrystal
    settings : AnnealSettings
        No start begins at a higher level than its.
    rng : numpy.random.Generator
    with_basins : bool
        Whether to quench a copy of what is taken as it is, for the energy of its basin.
    keeps_symmetry : bool
        Whether each crystal, cell and positions, stays in the space group that it starts in. A
        batch may hold many.

    Returns
    -------
    list of Refined, in the order of the starts
    """
    moving = [i for i, start in enumerate(starts) if start.noise > 0]
    still = [i for i, start in enumerate(starts) if start.noise <= 0]
    made: dict[int, Refined] = {}
    if moving:
        batch = Crystals.concatenate([starts[i].crystals for i in moving])
        noise = np.minimum([starts[i].noise for i in moving], settings.level)
        symmetry = SymmetryProjection.of(batch) if keeps_symmetry else None
        done = anneal(energy, batch, settings, rng, noise=noise, symmetry=symmetry)
        parts = _split(done.crystals, done.evaluation, done.converged, done.trace)
        made.update(
            (i, Refined(start=starts[i], **part)) for i, part in zip(moving, parts, strict=True)
        )
    if still:
        batch = Crystals.concatenate([starts[i].crystals for i in still])
        found = energy(batch)
        basins = None
        if with_basins:
            quenched = anneal(
                energy, batch, replace(settings, n_steps=0), rng, noise=np.zeros(len(still))
            )
            basins = quenched.evaluation.energy
        ready = np.ones(len(still), dtype=bool)
        trace = (found.energy / batch.counts)[None]
        parts = _split(batch, found, ready, trace, basins)
        made.update(
            (i, Refined(start=starts[i], **part)) for i, part in zip(still, parts, strict=True)
        )
    return [made[i] for i in range(len(starts))]


def sample_starts(
    energy: EnergyFunction,
    starts: Sequence[StartCrystal],
    sampler: PaperSampler,
    rng: np.random.Generator,
) -> list[Refined]:
    """Return the ends of the chains of the paper's sampler from a batch of starts.

    Their levels of noise mean nothing here: every chain begins at the first temperature.

    Parameters
    ----------
    energy : EnergyFunction
    starts : sequence of StartCrystal
    sampler : PaperSampler
    rng : numpy.random.Generator

    Returns
    -------
    list of Refined, in the order of the starts
    """
    state = sampler.start(energy, Crystals.concatenate([one.crystals for one in starts]), rng)
    trace = [state.evaluation.energy]
    for reached, _ in sampler.steps(state, energy):
        state = reached
        trace.append(state.evaluation.energy)
    ready = np.ones(len(starts), dtype=bool)
    per_atom = np.array(trace) / state.crystals.counts
    parts = _split(state.crystals, state.evaluation, ready, per_atom)
    return [Refined(start=start, **part) for start, part in zip(starts, parts, strict=True)]


def _split(
    crystals: Crystals,
    found: Evaluation,
    converged: NDArray[np.bool_],
    trace: Floats,
    basins: Floats | None = None,
) -> list[dict[str, Any]]:
    return [
        {
            "crystals": crystals.select([b]),
            "energy": float(found.energy[b]),
            "forces": found.forces[crystals.offsets[b] : crystals.offsets[b + 1]],
            "stress": found.stress[b],
            "converged": bool(converged[b]),
            "trace": trace[:, b].copy(),
            "basin_energy": None if basins is None else float(basins[b]),
        }
        for b in range(len(crystals))
    ]


def run_job(job: Job) -> list[Refined]:
    """Refine the starts of a job; a function of its own, so that workers find it."""
    energy = _energy_of(job.model, job.device)
    rng = np.random.default_rng(job.seed)
    if job.preset is not None:
        made = sample_starts(energy, job.starts, PaperSampler(job.settings.n_steps), rng)
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
    return made if judge is None else judged(made, judge)


def judged(refined: Sequence[Refined], judge: Judge) -> list[Refined]:
    """Return crystals with what a judge says of them; of crystals that went astray nothing."""
    sane = [i for i, one in enumerate(refined) if one.is_finite]
    made = list(refined)
    if sane:
        odds = judge(Crystals.concatenate([refined[i].crystals for i in sane]))
        for i, value in zip(sane, odds.tolist(), strict=True):
            made[i] = replace(made[i], log_odds=value)
    return made


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
    executor: Executor | None = None,
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
    preset : str, optional
        As of :class:`Job`.
    executor : concurrent.futures.Executor, optional
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


def _run(jobs: Sequence[Job], executor: Executor | None) -> Iterator[tuple[int, list[Refined]]]:
    if executor is None:
        for number, job in enumerate(jobs):
            yield number, run_job(job)
        return
    waiting = {executor.submit(run_job, job): number for number, job in enumerate(jobs)}
    for future in as_completed(waiting):
        yield waiting[future], future.result()


@lru_cache(maxsize=2)
def _energy_of(model: str, device: str) -> ModelEnergy:
    return load_model(model).energy(device=device)


@lru_cache(maxsize=2)
def _judge_of(model: str, device: str) -> Judge | None:
    path = Path(model) / JUDGE
    if not path.is_file():
        return None
    return Judge.load(path, device=_energy_of(model, device).device)
