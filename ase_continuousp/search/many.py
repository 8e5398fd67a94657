"""Many formulas in, a database of ranked crystals out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ase import Atoms
from tqdm import tqdm

from ase_continuousp import __version__
from ase_continuousp.arguments import check_count, check_seed
from ase_continuousp.model.checkpoint import TrainedModel, load_model, torch_device
from ase_continuousp.search.bounds import Bounds
from ase_continuousp.search.cluster import check_cluster
from ase_continuousp.search.composition import formula_unit, parse_formula
from ase_continuousp.search.database import SearchDatabase
from ase_continuousp.search.executors import as_executor
from ase_continuousp.search.executors import processes as worker_processes
from ase_continuousp.search.second import SecondCalculator
from ase_continuousp.search.task import Outcome, Settings, search_key, search_one
from ase_continuousp.search.window import check_window
from ase_continuousp.starts.symmetric import spacegroup_number

logger = logging.getLogger(__name__)

_IN_FLIGHT = 2048  # tasks that an executor holds at a time: enough for a thousand workers
_PER_PROCESS = 4
_PATIENCE = 1.0  # seconds between looks at what waits to be written


@dataclass(frozen=True)
class Tally:
    """What became of the formulas of a list.

    Parameters
    ----------
    done : int
        Searches whose candidates were written by this call.
    refused : int
        Formulas that the model or the settings do not allow; the database says why.
    skipped : int
        Searches that were in the database before.
    lost : int
        Searches that ended in an unexpected error or with a worker that died again and again.
        They are not in the database, so that the same call tries them again.
    error : str
        The first of these errors.
    reasons : dict of str to str
        Of the formulas refused by this call.
    """

    done: int = 0
    refused: int = 0
    skipped: int = 0
    lost: int = 0
    error: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)


def predict_many(
    formulas: Iterable[str | Atoms],
    database: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | TrainedModel = "mp20",
    n_samples: int = 20,
    formula_units: int | Iterable[int] | None = None,
    start: str = "mixed",
    spacegroup: int | str | None = None,
    bounds: Bounds | None = None,
    window: float | None = None,
    implausible: bool = False,
    relax: bool = True,
    refine: SecondCalculator | None = None,
    seed: int = 0,
    device: str = "auto",
    executor: Any = None,
    processes: int = 2,
    progress: bool = False,
) -> Tally:
    """Predict the crystals of many formulas and stream them to a database.

    Each formula is one task and gives what :func:`~ase_continuousp.search.predict.predict` gives
    for it. The tasks go to the executor, the results come back to this process, which alone
    writes them, in batches. What the database holds already, of the same model, settings and
    seed, is skipped: an interrupted run goes on with the same call.

    Parameters
    ----------
    formulas : iterable of str or Atoms
        Only the ratio of the elements counts; equal ones are done once.
    database : str or path
        FILE.db or ``postgresql://...``
        (:class:`~ase_continuousp.search.database.SearchDatabase`).
    model, n_samples, formula_units, start, spacegroup, bounds, window, implausible, relax, seed,
    device
        As of :func:`~ase_continuousp.search.predict.predict`.
    refine : SecondCalculator, optional
        Relaxation of the best candidates with another calculator
        (:class:`~ase_continuousp.search.second.SecondCalculator`).
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Where to search; spawned processes if not given.
    processes : int
        How many of these. With more than one, a script that calls this needs the usual
        ``if __name__ == "__main__":``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Tally

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a formula cannot be read, or a Dask cluster has other versions or
        another model (:func:`~ase_continuousp.search.cluster.check_cluster`).
    ImportError
        If a package is needed and not installed.
    ConnectionError
        If the scheduler of a cluster goes away.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     options = {"model": "perov5", "n_samples": 2, "start": "prototype", "processes": 1}
    ...     predict_many(["SrTiO3", "BaTiO3"], f"{folder}/found.db", **options).done
    2
    """
    check_count("n_samples", n_samples)
    check_count("processes", processes)
    check_seed(seed)
    check_window(window)
    torch_device(device)
    if spacegroup is not None:
        spacegroup = spacegroup_number(spacegroup)
    units = [formula_units] if isinstance(formula_units, int) else formula_units
    trained = model if isinstance(model, TrainedModel) else load_model(model)
    settings = Settings(
        model=os.path.abspath(trained.path),
        n_samples=n_samples,
        formula_units=None if units is None else tuple(units),
        start=start,
        spacegroup=spacegroup,
        bounds=bounds,
        window=window,
        implausible=implausible,
        relax=relax,
        refine=refine,
        seed=seed,
        device=device,
    )
    files = settings.files()
    wanted = _keyed(formulas, settings, files)
    given = None if executor is None else as_executor(executor)
    if given is not None and given is not executor:
        check_cluster(executor, settings.model, files)
    with SearchDatabase(database) as results:
        done = results.done()
        left = {key: formula for key, formula in wanted.items() if key not in done}
        skipped = len(wanted) - len(left)
        counts = {"done": 0, "refused": 0, "lost": 0}
        first_error = ""
        reasons: dict[str, str] = {}
        pool_of = worker_processes(processes) if given is None else nullcontext(given)
        in_flight = _IN_FLIGHT if given is not None else _PER_PROCESS * processes
        bar = tqdm(
            total=len(wanted),
            initial=skipped,
            desc="searching",
            unit="formula",
            disable=not progress,
        )
        with bar, pool_of as pool:
            for key, outcome in _outcomes(left, settings, files, pool, in_flight):
                if outcome is None:
                    results.flush(only_if_due=True)
                    continue
                bar.update()
                if isinstance(outcome, BaseException):
                    counts["lost"] += 1
                    text = f"{left[key]}: {type(outcome).__name__}: {outcome}"
                    first_error = first_error or text
                    logger.warning("lost: %s", text)
                else:
                    counts["refused" if outcome.reason else "done"] += 1
                    if outcome.reason:
                        reasons[left[key]] = outcome.reason
                    _write(results, key, left[key], outcome, trained, settings)
    return Tally(**counts, skipped=skipped, error=first_error, reasons=reasons)


def read_formulas(path: str | os.PathLike[str]) -> list[str]:
    r"""Return the formulas of a file, one a line; what follows a # is a comment.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line cannot be read as a formula, or there is none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "wanted.txt")
    ...     _ = path.write_text("MgO  # rock salt?\n\nSrTiO3\n")
    ...     read_formulas(path)
    ['MgO', 'SrTiO3']
    """
    formulas = []
    if not Path(path).exists() or Path(path).is_dir():  # pipes are welcome
        raise FileNotFoundError(f"formulas must be an existing file: {path}")
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            parse_formula(text)
        except ValueError as error:
            raise ValueError(f"line {number} of {path}: {error}") from None
        formulas.append(text)
    if not formulas:
        raise ValueError(f"formulas: there is none in {path}")
    return formulas


def _keyed(
    formulas: Iterable[str | Atoms], settings: Settings, files: Mapping[str, str]
) -> dict[str, str]:
    """Return the reduced formulas by the keys of their searches, in the order given."""
    if isinstance(formulas, str | Atoms):
        formulas = [formulas]
    wanted = {}
    for formula in formulas:
        unit, _ = formula_unit(parse_formula(formula))
        reduced = str(Atoms(unit).get_chemical_formula("metal"))
        wanted[search_key(unit, settings, files)] = reduced
    return wanted


def _outcomes(
    left: Mapping[str, str],
    settings: Settings,
    files: Mapping[str, str],
    pool: Executor | None,
    in_flight: int,
) -> Iterator[tuple[str, Outcome | BaseException | None]]:
    """Yield outcomes or errors as they come, and None now and then while there is none."""
    if pool is None:
        for key, formula in left.items():
            yield key, search_one(formula, settings, files)
        return
    ended: SimpleQueue[tuple[str, Future[Outcome]]] = SimpleQueue()
    waiting = iter(left.items())
    n_running = 0
    is_empty = False
    while not is_empty or n_running:
        while not is_empty and n_running < in_flight:
            try:
                key, formula = next(waiting)
            except StopIteration:
                is_empty = True
                break
            future = pool.submit(search_one, formula, settings, files)
            future.add_done_callback(lambda done, key=key: ended.put((key, done)))  # type: ignore[misc]
            n_running += 1
        if not n_running:
            break
        try:
            key, future = ended.get(timeout=_PATIENCE)
        except Empty:
            yield "", None
            continue
        n_running -= 1
        if future.cancelled():  # not by us
            raise ConnectionError(
                "executor: its tasks were cancelled, is the scheduler gone? What is done is in the "
                "database; the same call goes on with what is left"
            )
        error = future.exception()
        yield key, future.result() if error is None else error


def _write(
    results: SearchDatabase,
    key: str,
    formula: str,
    outcome: Outcome,
    trained: TrainedModel,
    settings: Settings,
) -> None:
    pairs = {
        "reduced": formula,
        "model": trained.name,
        "model_hash": f"sha256-{trained.hash}",  # digits alone would be refused as a number
        "seed": settings.seed,
    }
    if outcome.reason:
        results.refuse(key, pairs, outcome.reason)
        return
    provenance = {
        "package": f"ase_continuousp {__version__}",
        "seconds": outcome.seconds,
        "settings": settings.described(),
    }
    results.add(key, pairs, outcome.candidates, provenance)
