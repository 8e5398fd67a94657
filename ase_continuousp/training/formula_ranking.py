"""Training a ranker for searches from a formula: which of its prototypes is the stable crystal.

Of a formula the stable crystal is meant (:mod:`ase_continuousp.starts.stability`), and prototypes
of all cell sizes are asked for at once. So the lists are of training crystals on the convex hull,
and of the lowest of compositions that have none on it. Who asks may mean a crystal that the library
knows, one of an unknown composition, or an unknown one of a composition of which it knows others,
and the energies of these tell much. Lists of known compositions are about in the proportions in
which such formulas occur.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.list_ranker import FORMULA_RANKER
from ase_continuousp.search.composition import choose_units, formula_unit
from ase_continuousp.search.evidence import SAME
from ase_continuousp.search.executors import processes as worker_processes
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.from_files import hull_energies
from ase_continuousp.starts.leaving_out import members_without
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training.good_rows import good_stores
from ase_continuousp.training.ranking import RankerConfig, write_ranker
from ase_continuousp.training.ranking_lists import (
    ListMaker,
    RankingLists,
    answered_lists,
    ranking_lists,
)

#: For searches from a formula: their lists are longer, and there are fewer of them.
FORMULA_CONFIG = RankerConfig(n_prototypes=15, epochs=20)

_ON_HULL = 1e-6  # eV/atom

Floats = NDArray[np.float64]


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
    to the same result. Of `config.n_lists` crystals on the hull there are lists as if their
    compositions were unknown, of a quarter of these two more: with the library as it is, and, where
    it knows others of the composition, with the very crystal left out. With the library as it is
    there are also lists of a fifth as many crystals that are the lowest of their compositions and
    above the hull.

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
    known = crystals_with_energies(data, processes=processes)
    kinds = {"stable": stable_crystals(*known), "lowest": lowest_crystals(*known)}
    folder = trained.path / "ranking"
    folder.mkdir(exist_ok=True)
    n_lists = min(config.n_lists, len(kinds["stable"]))
    with worker_processes(processes) as pool:
        parts = [
            ranking_lists(
                trained,
                kinds[kind],
                folder,
                make,
                n_lists=math.ceil(share * n_lists),
                n_prototypes=config.n_prototypes,
                seed=config.seed,
                pool=pool,
                progress=progress,
            )
            for make, kind, share in _PARTS
            if len(kinds[kind])
        ]
    lists = RankingLists.concatenate(parts)
    return write_ranker(trained, FORMULA_RANKER, lists, config, progress=progress)


def crystals_with_energies(
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], *, processes: int = 1
) -> tuple[Crystals, Floats]:
    """Return the crystals of some files and their energies above the convex hull [eV/atom].

    Parameters
    ----------
    data : path or sequence of paths
    processes : int
        Worker processes that parse CIFs.

    Returns
    -------
    Crystals and (n_crystals,) array
        The energy is NaN where it is not known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file gives no energies.

    Examples
    --------
    >>> crystals_with_energies("nowhere.csv")
    Traceback (most recent call last):
    FileNotFoundError: data file not found: nowhere.csv
    """
    paths = [data] if isinstance(data, str | os.PathLike) else list(data)
    stores = good_stores(paths, processes=processes)
    parts = [store.all() for store in stores]
    above = [
        hull_energies(path, part, store.rows)
        for path, part, store in zip(paths, parts, stores, strict=True)
    ]
    for path, energies in zip(paths, above, strict=True):
        if np.isnan(energies).all():
            raise ValueError(
                "data must be CSV files with energies above the hull in a column 'e_above_hull': "
                f"{os.fspath(path)} has none"
            )
    return Crystals.concatenate(parts), np.concatenate(above)


def stable_crystals(crystals: Crystals, above: Floats) -> Crystals:
    """Return the crystals that lie on the convex hull.

    Parameters
    ----------
    crystals : Crystals
    above : (n_crystals,) array [eV/atom]
        Energies above the hull, NaN where unknown.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salts = io.from_atoms([bulk("NaCl", "rocksalt", a=5.6), bulk("CaO", "rocksalt", a=4.8)])
    >>> stable_crystals(salts, np.array([0.02, 0.0])).numbers.tolist()
    [20, 8]
    """
    rows = np.flatnonzero(above <= _ON_HULL)
    if len(rows) == 0:
        raise ValueError("data must hold crystals with an e_above_hull of 0: none has")
    return crystals.select(rows)


def lowest_crystals(crystals: Crystals, above: Floats) -> Crystals:
    """Return the lowest crystal of each composition that has none on the convex hull.

    Of compositions whose energies are not known it is the first.

    Parameters
    ----------
    crystals : Crystals
    above : (n_crystals,) array [eV/atom]
        Energies above the hull, NaN where unknown.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salts = io.from_atoms([bulk("NaCl", "rocksalt", a=5.6), bulk("CaO", "rocksalt", a=4.8)])
    >>> lowest_crystals(salts, np.array([0.02, 0.0])).numbers.tolist()
    [11, 17]
    """
    lowest: dict[tuple[tuple[int, int], ...], int] = {}
    energies = np.where(np.isnan(above), np.inf, above)
    for row, numbers in enumerate(np.split(crystals.numbers, crystals.offsets[1:-1])):
        elements, counts = np.unique(numbers, return_counts=True)
        counts //= np.gcd.reduce(counts)
        key = tuple(zip(elements.tolist(), counts.tolist(), strict=True))
        if key not in lowest or energies[row] < energies[lowest[key]]:
            lowest[key] = row
    rows = [row for row in lowest.values() if energies[row] > _ON_HULL]
    return crystals.select(np.array(rows, dtype=np.int64))


def unseen_lists_of(model: str, crystals: Crystals, n: int) -> RankingLists:
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
    >>> unseen_lists_of(str(load_model("mp20").path), salt, 3).is_right.tolist()
    [True, False, False]
    """

    def offered(start: PrototypeStart, truth: Crystals) -> list[StartCrystal]:
        unit, units = _asked(truth)
        return start.generate_any(unit, units, n, unseen=True)

    return answered_lists(model, crystals, offered)


def kept_lists_of(model: str, crystals: Crystals, n: int) -> RankingLists:
    """Return the lists of formulas by the library as it is, as :func:`unseen_lists_of`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io, load_model
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> len(kept_lists_of(str(load_model("mp20").path), salt, 2))
    1
    """

    def offered(start: PrototypeStart, truth: Crystals) -> list[StartCrystal]:
        unit, units = _asked(truth)
        return start.generate_any(unit, units, n)

    return answered_lists(model, crystals, offered)


def left_out_lists_of(model: str, crystals: Crystals, n: int) -> RankingLists:
    """Return the lists of formulas of which the library knows other crystals, but not this one.

    Other formulas have no list; else as :func:`unseen_lists_of`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io, load_model
    >>> unheard_of = io.from_atoms(bulk("AuN", "rocksalt", a=4.8))
    >>> len(left_out_lists_of(str(load_model("mp20").path), unheard_of, 2))
    0
    """

    def offered(start: PrototypeStart, truth: Crystals) -> list[StartCrystal]:
        unit, units = _asked(truth)
        staying = members_without(start.library, truth)
        made = start.generate_any(unit, units, n, staying=staying)
        known = [one.nearness is not None and one.nearness > SAME for one in made]
        return made if any(known) else []

    return answered_lists(model, crystals, offered)


def _asked(truth: Crystals) -> tuple[NDArray[np.int64], list[int]]:
    unit, _ = formula_unit(truth.numbers)
    return unit, choose_units(unit)


# How lists are made, of which crystals, and of how many in proportion to those on the hull.
_PARTS: tuple[tuple[ListMaker, str, float], ...] = (
    (unseen_lists_of, "stable", 1.0),
    (kept_lists_of, "stable", 0.25),
    (left_out_lists_of, "stable", 0.25),
    (kept_lists_of, "lowest", 0.2),
)
