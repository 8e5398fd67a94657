"""What generated crystals count beside the prototypes of a ranker, learned from whole searches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ase_continuousp.arguments import check_count
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.io.replacing import replacing
from ase_continuousp.model.checkpoint import (
    CARD,
    TrainedModel,
    file_hashes,
    load_model,
    write_card,
)
from ase_continuousp.model.judge import JUDGE
from ase_continuousp.model.list_ranker import FORMULA_RANKER, RANKER
from ase_continuousp.search.composition import choose_units, formula_unit, unit_frequencies
from ase_continuousp.search.executors import processes as worker_processes
from ase_continuousp.search.jobs import model_key, refine_all
from ase_continuousp.search.list_calibration import Answered, fit_list_constants
from ase_continuousp.search.list_ranking import CARD_KEYS, Listed, ListRanking, listed_ranking
from ase_continuousp.search.predict import equal_ones, is_reasonable
from ase_continuousp.search.rank import best_first
from ase_continuousp.search.refine import anneal_settings
from ase_continuousp.search.sources import Sources, read_priors, sources_of_model
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors
from ase_continuousp.training.formula_ranking import crystals_with_energies, stable_crystals
from ase_continuousp.training.good_rows import good_crystals


def fit_constants(
    model: str | os.PathLike[str],
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    formula: bool = False,
    n_searches: int = 300,
    n_samples: int = 20,
    seed: int = 0,
    processes: int = 1,
    progress: bool = False,
) -> dict[str, Any]:
    """Fit the constants of a ranker to mixed searches and write them into the card of its model.

    They are those of :class:`ase_continuousp.search.list_ranking.ListRanking`, under "ranking" as
    "list" or "formula list". A search takes some seconds; what it found is kept in the folder
    ``ranking`` of the model, and the next call goes on from there to the same result.

    Parameters
    ----------
    model : str or path
    data : path or sequence of paths
        Files of crystals that neither the library nor the ranker has learned from.
    formula : bool
        For searches from a formula instead of those that know the number of atoms: of crystals on
        the convex hull, as if the library knew none of their compositions.
    n_searches : int
        Crystals to search, drawn at random.
    n_samples : int
        Starts of each.
    seed : int
    processes : int
        That search, and that parse CIFs. More than one need a script with the usual
        ``if __name__ == "__main__":``.
    progress : bool

    Returns
    -------
    dict
        What is in the card then.

    Raises
    ------
    ValueError
        If the model is one of the package or has no such ranker or no judge, no crystal of the
        data is said to lie on the convex hull though `formula` is true, or no search finds a
        prototype.

    Examples
    --------
    >>> fit_constants("perov5", "data.csv")
    Traceback (most recent call last):
    ValueError: model 'perov5' is one of the package, which is not written to: copy the folder ...
    """
    check_count("n_searches", n_searches)
    check_count("n_samples", n_samples)
    trained = load_model(model)
    trained.require_own_folder()
    file = FORMULA_RANKER if formula else RANKER
    for name in (file, JUDGE):
        if not (trained.path / name).is_file():
            raise ValueError(f"model must have a ranker and a judge: {trained.path} has no {name}")
    crystals = to_be_searched(data, formula=formula, processes=processes)
    rows = np.random.default_rng(seed).permutation(len(crystals))[:n_searches]
    truths = [crystals.select([row]) for row in rows]
    journal = _journal(trained, file, truths, (n_samples, seed))
    search = partial(_search, model_key(trained), journal.stem, formula, n_samples, seed)
    with worker_processes(processes) as pool:
        found = _answers(search, truths, journal, pool, progress)
    constants, loss = fit_list_constants(found)
    ranking = dict(trained.card.get("ranking", {}))
    ranking[CARD_KEYS[file]] = constants
    ranking[f"{CARD_KEYS[file]} fitted_to"] = f"{len(found)} searches: loss {loss:.3f}"
    write_card(trained.path, trained.card | {"ranking": ranking})
    return constants


def to_be_searched(
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    formula: bool,
    processes: int = 1,
) -> Crystals:
    """Return the crystals that :func:`fit_constants` draws from; callers ask before long work.

    Parameters
    ----------
    data, formula, processes
        As of :func:`fit_constants`.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`fit_constants` does for its data.

    Examples
    --------
    >>> to_be_searched("nowhere.csv", formula=True)
    Traceback (most recent call last):
    FileNotFoundError: data file not found: nowhere.csv
    """
    if formula:
        return stable_crystals(*crystals_with_energies(data, processes=processes))
    return good_crystals(data, processes=processes)


def _journal(
    trained: TrainedModel, file: str, truths: Sequence[Crystals], settings: tuple[int, int]
) -> Path:
    """Return the file of these very searches, by the files of the model and what is asked."""
    folder = trained.path / "ranking"
    folder.mkdir(exist_ok=True)
    hashes = file_hashes(trained.path)
    hashes.pop(CARD)
    card = {key: value for key, value in trained.card.items() if key != "ranking"}  # written later
    about = [sorted(hashes.items()), sorted(card.items()), file, *settings]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for truth in truths:
        for array in (truth.positions, truth.cells, truth.numbers):
            digest.update(np.ascontiguousarray(array).tobytes())
    return folder / f"searches-{digest.hexdigest()[:16]}.jsonl"


def _answers(
    search: Callable[[Crystals], Answered | None],
    truths: Sequence[Crystals],
    journal: Path,
    pool: Executor | None,
    progress: bool,
) -> list[Answered]:
    """Search what the journal does not hold yet, and return all that found a prototype."""
    found = _read(journal)
    waiting = [
        partial(search, truth) if pool is None else pool.submit(search, truth).result
        for truth in truths[len(found) :]
    ]
    bar = tqdm(total=len(truths), initial=len(found), disable=not progress, desc="searches")
    with bar, journal.open("a", encoding="utf-8") as stream:
        for wait in waiting:
            found.append(wait())
            stream.write(_as_line(found[-1]))
            stream.flush()
            bar.update()
    return [one for one in found if one is not None]


def _as_line(answer: Answered | None) -> str:
    if answer is None:
        return "null\n"
    listed, right = answer
    parts = [[z.tolist() for z in part] for part in (listed.prototypes, listed.odds)]
    return json.dumps([*parts, listed.none, right.tolist()]) + "\n"


def _read(journal: Path) -> list[Answered | None]:
    """Return the answers in a journal, and drop what a kill has left of a line."""
    if not journal.is_file():
        return []
    text = journal.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        with replacing(journal) as draft:
            draft.write_text(whole, encoding="utf-8")
    made: list[Answered | None] = []
    for line in whole.splitlines():
        told = json.loads(line)
        if told is None:
            made.append(None)
            continue
        prototypes, odds, none, right = told
        listed = Listed([np.array(z) for z in prototypes], [np.array(z) for z in odds], none)
        made.append((listed, np.array(right, dtype=bool)))
    return made


def _search(
    model: str, version: str, formula: bool, n_samples: int, seed: int, truth: Crystals
) -> Answered | None:
    """Search one composition; None if no prototype is found."""
    trained, priors, sources, ranking = _prepared(model, version, formula)
    rng = np.random.default_rng(seed)
    if formula:
        starts = _from_formula(sources, priors, truth, n_samples, rng)
    else:
        starts = sources.generate(truth.numbers, n_samples, rng)
    refined = refine_all(
        trained,
        starts,
        anneal_settings(trained),
        seed=seed,
        device="cpu",
        with_basins=False,
        with_parents=True,
    )
    classes = equal_ones([one for one in refined if is_reasonable(one, priors)])
    listed = ranking.listed(classes)
    if listed is None:
        return None
    heads = [
        best_first(members, np.append(mine, odds))[0]
        for members, mine, odds in zip(classes, listed.prototypes, listed.odds, strict=True)
    ]
    right = [rms_distance(one.crystals, truth) is not None for one in heads]
    return listed, np.array(right)


def _from_formula(
    sources: Sources, priors: Priors, truth: Crystals, n: int, rng: np.random.Generator
) -> list[StartCrystal]:
    unit, _ = formula_unit(truth.numbers)
    units = choose_units(unit)
    frequencies = unit_frequencies(unit, units, priors.shapes)
    return sources.search(unit, units, n, rng, frequencies=frequencies, unseen=True)


@lru_cache(maxsize=2)
def _prepared(
    model: str, version: str, formula: bool
) -> tuple[TrainedModel, Priors, Sources, ListRanking]:
    del version  # of the files: what is cached is of these
    trained = load_model(Path(model))
    priors = read_priors(trained.path)
    sources = sources_of_model(trained.path, "mixed", priors=priors)
    ranking = listed_ranking(trained, FORMULA_RANKER if formula else RANKER)
    if ranking is None:
        raise ValueError(f"model must have a ranker: {model}")
    return trained, priors, sources, ranking
