"""Sample the compositions of test crystals and compare with the crystals themselves."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp import io
from ase_continuousp.arguments import check_count, check_seed
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.journal import Journal
from ase_continuousp.evaluation.report import Report, Row
from ase_continuousp.evaluation.representatives import check_choice
from ase_continuousp.evaluation.tasks import (
    Recipe,
    Task,
    control_sources,
    judge,
    make_tasks,
    sample,
    sample_and_judge,
)
from ase_continuousp.model.checkpoint import TrainedModel, file_hashes, load_model
from ase_continuousp.search.executors import processes as worker_processes
from ase_continuousp.search.refine import anneal_settings
from ase_continuousp.search.sources import Sources, read_priors, sources_of_model
from ase_continuousp.search.window import check_window
from ase_continuousp.starts.priors import Priors
from ase_continuousp.training.data import read_crystals

logger = logging.getLogger(__name__)

Data = str | os.PathLike[str] | Crystals | Sequence[Atoms]

# Starts that are annealed together: what keeps one core busy, or a GPU.
_CPU_BATCH, _GPU_BATCH = 192, 2048


def evaluate(
    model: str | os.PathLike[str] | TrainedModel,
    data: Data,
    *,
    k: int = 1,
    start: str = "random",
    n_chains: int = 1,
    choose: str = "lowest",
    window: float | None = None,
    limit: int | None = None,
    seed: int = 0,
    processes: int = 2,
    progress: bool = False,
    device: str = "auto",
    n_steps: int | None = None,
    controls: bool = True,
    journal: str | os.PathLike[str] | None = None,
) -> Report:
    """Return how often a model finds test crystals from their compositions.

    Each test crystal gives its composition, with the number of atoms of its cell, and nothing
    else. k samples are drawn for it; each is the lowest in energy of `n_chains` chains, or all
    together stand for the k × `n_chains` ends (`choose`). A sample matches as
    :func:`ase_continuousp.evaluation.match.rms_distance` says. Beside the model stand controls that
    know no energy, one crystal a composition: ``random`` (atoms anywhere in a cell
    of likely volume and shape) and, if the model has a library, ``prototype`` (the first
    substitution into a known structure type).

    Parameters
    ----------
    model : str, path or TrainedModel
        Name of a shipped model, or the folder of any.
    data : path, Crystals or sequence of Atoms
        A CSV file with a column ``cif``, or what :func:`ase_continuousp.io.read_atoms` reads.
    k : int
        Samples of each composition; the report holds the best of them and the one that the
        model ranks first.
    start : {"random", "symmetric", "prototype", "mixed"}
        Here "mixed" is three prototypes to two random starts, without symmetric ones.
    n_chains : int
    choose : {"lowest", "spread"}
        "spread": the k samples are the medoids in energy of the k × `n_chains` ends
        (:func:`ase_continuousp.evaluation.representatives.representatives`), so that a basin found
        often fills one place and not many. Without effect where `n_chains` is 1.
    window : float, optional
        Leave out generated samples whose energy per atom lies further than this above the lowest
        of the composition, as :func:`ase_continuousp.search.predict.predict` does. In units of U.
    limit : int, optional
        Take the first so many crystals after a shuffle by the seed.
    seed : int
    processes : int
        Worker processes that sample (on the CPU) and match, one thread each. With more than one,
        a script that calls this needs the usual ``if __name__ == "__main__":``. The numbers do
        not depend on it.
    progress : bool
        Show a progress bar.
    device : str
        "auto", "cpu" or "cuda".
    n_steps : int, optional
        Noisy steps of a chain, without reheating; those of the model if not given.
    controls : bool
        Whether to compute the controls.
    journal : path, optional
        Where finished test crystals are kept. If an evaluation is interrupted, the same call
        with the same journal goes on from there, to the same numbers.

    Returns
    -------
    Report

    Raises
    ------
    FileNotFoundError
        If there is no such data file.
    TypeError, ValueError
        If an argument is wrong, the data hold no crystal, or the journal belongs to another
        evaluation.

    Examples
    --------
    >>> from ase import Atoms
    >>> sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    >>> truth = Atoms("SrTiO3", scaled_positions=sites, cell=[3.9, 3.9, 3.9], pbc=True)
    >>> evaluate("perov5", [truth], processes=1, n_steps=5).n
    1
    """
    for name, value in (("k", k), ("n_chains", n_chains), ("processes", processes)):
        check_count(name, value)
    if limit is not None:
        check_count("limit", limit)
    check_seed(seed)
    check_window(window)
    check_choice(choose)
    began = time.perf_counter()
    trained = model if isinstance(model, TrainedModel) else load_model(model)
    settings = anneal_settings(trained, n_steps=n_steps)
    priors = read_priors(trained.path)
    sources = sources_of_model(trained.path, start, priors=priors)
    if start == "mixed":
        # One symmetric start takes as long as all other samples of a crystal.
        sources = Sources(start, {k: s for k, s in sources.starts.items() if k != "symmetric"})
    truths = _read(data, processes, progress)
    rows = np.random.default_rng(seed).permutation(truths.n_crystals)[:limit]
    on_gpu = trained.energy(device=device).device.type == "cuda"
    recipe = Recipe(
        trained,
        device,
        settings,
        sources,
        control_sources(trained, sources, controls),
        k=k,
        n_chains=n_chains,
        window=window,
        seed=seed,
        batch=_GPU_BATCH if on_gpu else _CPU_BATCH,
        choose=choose,
    )
    kept = None if journal is None else Journal(journal, _key(recipe, start, truths, rows))
    done = {} if kept is None else {row.index: row for row in kept.rows}
    tasks = make_tasks(recipe, truths, rows, done=set(done))
    bar = tqdm(
        total=len(rows), initial=len(done), desc="evaluating", unit="crystal", disable=not progress
    )
    with bar, worker_processes(processes) as pool:
        for finished in _work(tasks, priors, pool, on_gpu):
            done.update((row.index, row) for row in finished)
            if kept is not None:
                kept.append(finished)
            bar.update(len(finished))
    return Report(
        k=k,
        start=start,
        chains=n_chains,
        choose=choose,
        window=window,
        seconds=time.perf_counter() - began,
        model=trained.name,
        data=_label(data),
        seed=seed,
        per_structure=tuple(done[int(index)] for index in rows),
    )


def _key(recipe: Recipe, start: str, truths: Crystals, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return what the rows of an evaluation depend on."""
    digest = hashlib.sha256()
    for array in (truths.positions, truths.cells, truths.numbers, truths.offsets, rows):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "model": file_hashes(recipe.model.path),
        "crystals": digest.hexdigest()[:16],
        "start": start,
        "kinds": sorted(recipe.sources.starts),
        "settings": asdict(recipe.settings),
        "k": recipe.k,
        "chains": recipe.n_chains,
        "window": recipe.window,
        "seed": recipe.seed,
        "batch": recipe.batch,
        "controls": sorted(recipe.controls),
        "choose": recipe.choose,
    }


def _work(
    tasks: Iterator[Task], priors: Priors, pool: Executor | None, on_gpu: bool
) -> Iterator[list[Row]]:
    """Yield the rows of each task; on a GPU this process samples and the pool only judges."""
    if pool is None:
        for task in tasks:
            yield sample_and_judge(task, priors)
        return
    waiting: set[Future[list[Row]]] = set()
    for task in tasks:
        if on_gpu:
            waiting.add(pool.submit(judge, task, sample(task), priors))
        else:
            waiting.add(pool.submit(sample_and_judge, task, priors))
        for future in [f for f in waiting if f.done()]:
            waiting.discard(future)
            yield future.result()
    for future in as_completed(waiting):
        yield future.result()


def _read(data: Data, processes: int, progress: bool) -> Crystals:
    if isinstance(data, Crystals):
        data.validate()
        return data
    if isinstance(data, str | os.PathLike):
        return read_crystals(data, processes=processes, progress=progress)
    return io.from_atoms(list(data))


def _label(data: Data) -> str:
    return os.fspath(data) if isinstance(data, str | os.PathLike) else "in memory"
