"""Pieces of an evaluation: some test crystals each, sampled and judged by one worker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.evaluation.report import Judged, Row, Sample
from ase_continuousp.evaluation.representatives import representatives
from ase_continuousp.io.cif import cif_text
from ase_continuousp.model.checkpoint import TrainedModel
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.search.evidence import evidence
from ase_continuousp.search.jobs import Job, batches_of, model_key, run_job
from ase_continuousp.search.list_ranking import ranking_for_atoms
from ase_continuousp.search.plausible import LeastOdds, plausible
from ase_continuousp.search.predict import is_reasonable, rank_refined
from ase_continuousp.search.rank import Ranked, Ranking
from ase_continuousp.search.refine import Refined
from ase_continuousp.search.sources import PROTOTYPES, Sources, sources_of_model
from ase_continuousp.search.symmetry import spacegroup
from ase_continuousp.search.window import in_window
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors


@dataclass(frozen=True)
class Task:
    """Some test crystals, and all that a worker needs to sample and to judge them.

    Parameters
    ----------
    rows : tuple of int
        Of the data.
    truths : Crystals
        The test crystals.
    job : Job
        The starts of all of them.
    owners, samples : tuple of int
        Of each start: the place of its test crystal in `rows`, and which of the k samples it is
        a chain of.
    controls : tuple of dict
        Of each test crystal: the crystals made by the controls.
    ranking : Ranking
        Of the samples of one test crystal.
    least : LeastOdds
        Below which samples do not count.
    window : float, optional
        Above which samples do not count.
    n_spread : int, optional
        How many ends stand for all those of a test crystal; if not given, the lowest end of each
        sample is taken.
    """

    rows: tuple[int, ...]
    truths: Crystals
    job: Job
    owners: tuple[int, ...]
    samples: tuple[int, ...]
    controls: tuple[dict[str, Crystals], ...]
    ranking: Ranking
    least: LeastOdds
    window: float | None = None
    n_spread: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How test crystals are sampled.

    Parameters
    ----------
    model : TrainedModel
    device : str
    settings : AnnealSettings
    sources : Sources
    controls : dict of str to Sources
        Whose first crystal is compared as it is.
    k : int
        Samples of each composition.
    n_chains : int
        Chains behind each sample.
    window : float or None
        Above the lowest energy per atom, beyond which samples do not count.
    seed : int
    batch : int
        Starts that are annealed together, about.
    choose : {"lowest", "spread"}
        Which ends of k × n_chains chains are the k samples.
    """

    model: TrainedModel
    device: str
    settings: AnnealSettings
    sources: Sources
    controls: Mapping[str, Sources]
    k: int
    n_chains: int
    window: float | None
    seed: int
    batch: int
    choose: str = "lowest"


def make_tasks(
    recipe: Recipe,
    truths: Crystals,
    rows: NDArray[np.int64],
    *,
    done: Collection[int] = (),
) -> Iterator[Task]:
    """Yield the tasks one by one, so that starts are made while workers compute.

    Parameters
    ----------
    recipe : Recipe
    truths : Crystals
        All test crystals.
    rows : array of int
        Those to sample. Each has a random stream of its own, and the tasks depend on nothing
        but the rows and the recipe.
    done : collection of int
        Rows that need no task; tasks of which all rows are done are left out.
    """
    known = set(recipe.model.elements)
    ranking = ranking_for_atoms(recipe.model)
    per_row = recipe.k * recipe.n_chains
    group = max(1, recipe.batch // per_row)
    for number, batch in enumerate(batches_of(truths.counts[rows].tolist(), group)):
        chosen = rows[batch].tolist()
        if all(row in done for row in chosen):
            continue
        starts: list[StartCrystal] = []
        owners: list[int] = []
        samples: list[int] = []
        controls = []
        for place, row in enumerate(chosen):
            numbers = truths.select([row]).numbers
            rng = np.random.default_rng([recipe.seed, row])
            if set(numbers.tolist()) <= known:
                made = recipe.sources.generate(numbers, per_row, rng)
                starts += made
                owners += [place] * len(made)
                # Chains of one sample lie k apart, so that the most promising starts go to
                # different samples.
                samples += [index % recipe.k for index in range(len(made))]
            controls.append(_controls(recipe.controls, numbers, rng))
        key, seed = model_key(recipe.model), (recipe.seed, number)
        job = Job(
            key,
            recipe.device,
            tuple(starts),
            recipe.settings,
            seed,
            with_parents=ranking.needs_parents,
        )
        yield Task(
            tuple(chosen),
            truths.select(chosen),
            job,
            tuple(owners),
            tuple(samples),
            tuple(controls),
            ranking,
            LeastOdds.of_model(recipe.model.card),
            recipe.window,
            recipe.k if recipe.choose == "spread" else None,
        )


def control_sources(model: TrainedModel, sources: Sources, wanted: bool) -> dict[str, Sources]:
    """Return the sources of the controls: random crystals and, with a library, prototypes."""
    if not wanted:
        return {}
    kinds = ["random"] + ["prototype"] * (model.path / PROTOTYPES).is_file()
    made = {}
    for kind in kinds:
        known = kind in sources.starts
        starts = sources.starts if known else sources_of_model(model.path, kind).starts
        made[kind] = Sources(kind, starts)
    return made


def _controls(
    sources: Mapping[str, Sources], numbers: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Crystals]:
    made = {}
    for kind, source in sources.items():
        starts = source.generate(numbers, 1, rng)
        if starts:
            made[kind] = starts[0].crystals
    return made


def sample(task: Task) -> list[Refined]:
    """Anneal the starts of a task."""
    return run_job(task.job) if task.job.starts else []


def sample_and_judge(task: Task, priors: Priors) -> list[Row]:
    """Anneal the starts of a task and compare the ends with its test crystals."""
    return judge(task, sample(task), priors)


def judge(task: Task, refined: Sequence[Refined], priors: Priors) -> list[Row]:
    """Compare the samples of each test crystal with it."""
    rows = []
    for place, (index, truth) in enumerate(zip(task.rows, task.truths, strict=True)):
        chains: dict[int, list[Refined]] = {}
        for owner, sample, one in zip(task.owners, task.samples, refined, strict=True):
            if owner == place and is_reasonable(one, priors):
                chains.setdefault(sample, []).append(one)
        samples = in_window(_chosen(list(chains.values()), task.n_spread), task.window)
        ranked = rank_refined(samples, priors, task.ranking)
        offered = {id(m) for one in plausible(ranked, task.least) for m in one.members}
        rows.append(_row(index, truth, samples, ranked, offered, task.controls[place]))
    return rows


def _chosen(chains: Sequence[Sequence[Refined]], n_spread: int | None) -> list[Refined]:
    if n_spread is None:
        return [min(ends, key=lambda one: one.found.energy) for ends in chains]
    ends = [one for group in chains for one in group]
    return [ends[i] for i in representatives([one.found.energy_per_atom for one in ends], n_spread)]


def _row(
    index: int,
    truth: Crystals,
    samples: Sequence[Refined],
    ranked: Sequence[Ranked],
    offered: Collection[int],
    controls: dict[str, Crystals],
) -> Row:
    distances = {id(one): rms_distance(one.crystals, truth) for one in samples}
    first = ranked[0].head if ranked else None
    matched = [rms for key, rms in distances.items() if rms is not None and key in offered]
    places = {id(m): place for place, one in enumerate(ranked, 1) for m in one.members}
    reasons = evidence([one.members for one in ranked])
    [atoms] = io.to_atoms(truth)
    return Row(
        index=index,
        formula=str(atoms.get_chemical_formula("metal")),
        n_atoms=truth.n_atoms,
        rms=min(matched, default=None),
        top1_rms=None if first is None else distances[id(first)],
        spacegroup=0 if first is None else spacegroup(first.crystals)[1],
        true_spacegroup=spacegroup(truth)[1],
        top1_start="" if first is None else first.start.kind,
        top1_energy=None if first is None else first.energy_per_atom,
        top1_probability=ranked[0].probability if ranked else None,
        n_samples=len(offered),
        controls={name: rms_distance(made, truth) for name, made in controls.items()},
        samples=tuple(
            Sample(
                one.start.kind,
                one.found.energy_per_atom,
                distances[id(one)],
                one.log_odds,
                id(one) in offered,
                places[id(one)],
            )
            for one in samples
        ),
        classes=tuple(
            Judged(
                tuple(tuple(reason.as_array().tolist()) for reason in own),
                distances[id(one.head)] is not None,
            )
            for own, one in zip(reasons, ranked, strict=True)
        ),
        top1_cif="" if first is None else cif_text(io.to_atoms(first.crystals)[0]),
    )
