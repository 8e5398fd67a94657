"""A prototype library from training files, ready for the folder of a model."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.stability import member_energies
from ase_continuousp.training.bad_rows import report_bad_rows
from ase_continuousp.training.data import open_crystals, read_columns

_log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_HULL, _FORMATION = "e_above_hull", "formation_energy_per_atom"


def library_from_files(
    data: Sequence[str | os.PathLike[str]],
    *,
    beside: Sequence[str | os.PathLike[str]] = (),
    energy: EnergyFunction | None = None,
    processes: int = 1,
    progress: bool = False,
) -> PrototypeLibrary:
    """Return the prototypes of training files, with the energies of their members where given.

    Parameters
    ----------
    data : sequence of paths
        Training files, see :func:`ase_continuousp.training.data.open_crystals`; bad rows are
        left out. CSV files may
        have columns ``e_above_hull`` and ``formation_energy_per_atom`` [eV/atom].
    beside : sequence of paths
        Files of crystals of another kind than will be asked for: they are learned to count less.
    energy : EnergyFunction, optional
        In which relatives of lone crystals are relaxed
        (:mod:`ase_continuousp.starts.relaxing`).
    processes : int
        Worker processes that parse CIFs.
    progress : bool

    Returns
    -------
    PrototypeLibrary

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`~ase_continuousp.training.data.open_crystals` and
        :func:`~ase_continuousp.starts.building.build_library` do.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> with TemporaryDirectory() as folder:
    ...     for a in (5.5, 5.7):
    ...         bulk("NaCl", "rocksalt", a=a).write(f"{folder}/salt.extxyz", append=True)
    ...     library_from_files([f"{folder}/salt.extxyz"]).n_prototypes
    1
    """
    stores, beside_stores = (
        [open_crystals(path, processes=processes, progress=progress) for path in paths]
        for paths in (data, beside)
    )
    told = report_bad_rows(stores + beside_stores, None)
    if told:
        _log.warning("left out: %s", told)
    parts, others = [s.all() for s in stores], [s.all() for s in beside_stores]
    crystals = Crystals.concatenate([*parts, *others])
    n_data = sum(len(part) for part in parts)
    library = build_library(
        crystals, side=np.arange(len(crystals)) >= n_data, energy=energy, progress=progress
    )
    above = [
        hull_energies(path, part, store.rows)
        for path, part, store in zip(data, parts, stores, strict=True)
    ] + [np.full(len(part), np.nan) for part in others]  # fmt: skip
    energies = np.concatenate(above)
    if np.isnan(energies).all():
        return library
    return replace(library, energies=member_energies(library, crystals, energies))


def hull_energies(
    path: str | os.PathLike[str], crystals: Crystals, rows: Integers | None = None
) -> Floats:
    """Return the energies above the convex hull that a training file gives, NaN where it does not.

    An element is as unstable as its formation energy, where that is the larger number: in some
    tables the hull of an element is drawn through the only form that they hold.

    Parameters
    ----------
    path : path
    crystals : Crystals
        Of that file.
    rows : (n_crystals,) array, optional
        Row of each crystal in the file, if some rows were left out.

    Returns
    -------
    (n_crystals,) array [eV/atom]

    Raises
    ------
    ValueError
        If an energy is neither blank nor a number.
    """
    unknown = np.full(len(crystals), np.nan)
    if not Path(path).name.removesuffix(".gz").endswith(".csv"):
        return unknown
    table = read_columns(path, [_HULL, _FORMATION])
    if _HULL not in table:
        return unknown
    above = _numbers(path, _HULL, table[_HULL])
    formation = _numbers(path, _FORMATION, table.get(_FORMATION, [""] * len(above)))
    if rows is not None:
        above, formation = above[rows], formation[rows]
    numbers = np.split(crystals.numbers, crystals.offsets[1:-1])
    is_element = np.array([len(np.unique(one)) == 1 for one in numbers])
    return np.where(is_element, np.fmax(above, formation), above)


def _numbers(path: str | os.PathLike[str], column: str, texts: Sequence[str]) -> Floats:
    made = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        if text.strip():
            try:
                made[row] = float(text)
            except ValueError:
                raise ValueError(
                    f"column {column!r} must hold numbers or be blank, row {row} of "
                    f"{os.fspath(path)} does not: {text!r}"
                ) from None
    return made
