"""Training a ranker for searches from a formula: which of its prototypes is the stable crystal.

Of a formula the stable crystal is meant (:mod:`ase_continuousp.starts.stability`), and prototypes
of all cell sizes are asked for at once. So the lists are of training crystals on the convex hull,
each as if the library knew no crystal of its composition; where it knows one, searches are ranked
otherwise (:class:`ase_continuousp.search.list_ranking.UnlessFamiliar`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.list_ranker import FORMULA_RANKER
from ase_continuousp.search.composition import choose_units, formula_unit
from ase_continuousp.search.executors import processes as worker_processes
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.from_files import hull_energies
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training.bad_rows import report_bad_rows
from ase_continuousp.training.data import open_crystals
from ase_continuousp.training.ranking import RankerConfig, fit_ranker
from ase_continuousp.training.ranking_lists import RankingLists, answered_lists, ranking_lists

#: For searches from a formula: their lists are longer, and there are fewer of them.
FORMULA_CONFIG = RankerConfig(n_prototypes=15, epochs=20)

_ON_HULL = 1e-6  # eV/atom


def train_formula_ranker(
    model: str | os.PathLike[str],
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    config: RankerConfig = FORMULA_CONFIG,
    *,
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Train a ranker for searches from a formula into the folder of a model.

    The model needs a prototype library and a judge. Finding the lists takes a sixth of a second
    each; they are kept in the folder ``ranking`` of the model, and the next call goes on from there
    to the same result.

    Parameters
    ----------
    model : str or path
    data : path or sequence of paths
        CSV files with a column ``e_above_hull``
        (:func:`ase_continuousp.starts.from_files.hull_energies`); bad rows are left out.
    config : RankerConfig
    processes : int
        That find lists, and that parse CIFs. More than one need a script with the usual
        ``if __name__ == "__main__":``.
    progress : bool

    Returns
    -------
    Path
        The file of the ranker.

    Raises
    ------
    ValueError
        If the model is one of the package, or has no prototype library or no judge, or no crystal
        of the data is said to lie on the convex hull.

    Examples
    --------
    >>> train_formula_ranker("perov5", "data.csv")
    Traceback (most recent call last):
    ValueError: model 'perov5' is one of the package, which is not written to: copy the folder ...
    """
    trained = load_model(model)
    trained.require_own_folder()
    crystals = stable_crystals(data, processes=processes)
    folder = trained.path / "ranking"
    folder.mkdir(exist_ok=True)
    with worker_processes(processes) as pool:
        lists = ranking_lists(
            trained,
            crystals,
            folder,
            formula_lists_of,
            n_lists=config.n_lists,
            n_prototypes=config.n_prototypes,
            seed=config.seed,
            pool=pool,
            progress=progress,
        )
    target = trained.path / FORMULA_RANKER
    fit_ranker(lists, config, progress=progress).save(target, trained_on=f"{len(lists)} lists")
    return target


def stable_crystals(
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], *, processes: int = 1
) -> Crystals:
    """Return the crystals of some files that lie on the convex hull.

    Parameters
    ----------
    data : path or sequence of paths
    processes : int
        Worker processes that parse CIFs.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is none.

    Examples
    --------
    >>> stable_crystals("nowhere.csv")
    Traceback (most recent call last):
    FileNotFoundError: data file not found: nowhere.csv
    """
    paths = [data] if isinstance(data, str | os.PathLike) else list(data)
    stores = [open_crystals(path, processes=processes) for path in paths]
    report_bad_rows(stores, None)
    parts = []
    for path, store in zip(paths, stores, strict=True):
        crystals = store.all()
        above = hull_energies(path, crystals, store.rows)
        parts.append(crystals.select(np.flatnonzero(above <= _ON_HULL)))
    made = Crystals.concatenate(parts)
    if len(made) == 0:
        raise ValueError("data must hold crystals with an e_above_hull of 0: none has")
    return made


def formula_lists_of(model: str, crystals: Crystals, n: int) -> RankingLists:
    """Return the lists of the formulas of some crystals, as if their compositions were unknown.

    Parameters
    ----------
    model : str
        Folder of a model with a library and a judge.
    crystals : Crystals
        Those without prototypes have no list.
    n : int
        Prototypes of each, of all cell sizes that :func:`ase_continuousp.predict` tries.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io, load_model
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> formula_lists_of(str(load_model("mp20").path), salt, 3).is_right.tolist()
    [True, False, False]
    """

    def offered(start: PrototypeStart, truth: Crystals) -> list[StartCrystal]:
        unit, _ = formula_unit(truth.numbers)
        return start.generate_any(unit, choose_units(unit), n, unseen=True)

    return answered_lists(model, crystals, offered)
