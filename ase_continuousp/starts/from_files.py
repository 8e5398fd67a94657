"""A prototype library from training files, ready for the folder of a model."""

from __future__ import annotations

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
from ase_continuousp.training.data import read_columns, read_crystals

Floats = NDArray[np.float64]

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
        Training files, see :func:`ase_continuousp.training.data.read_crystals`. CSV files may
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
        As :func:`~ase_continuousp.training.data.read_crystals` and
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
    parts = [read_crystals(path, processes=processes, progress=progress) for path in data]
    others = [read_crystals(path, processes=processes, progress=progress) for path in beside]
    crystals = Crystals.concatenate([*parts, *others])
    n_data = sum(len(part) for part in parts)
    library = build_library(
        crystals, side=np.arange(len(crystals)) >= n_data, energy=energy, progress=progress
    )
    above = [
        hull_energies(path, part) for path, part in zip(data, parts, strict=True)
    ] + [np.full(len(part), np.nan) for part in others]  # fmt: skip
    energies = np.concatenate(above)
    if np.isnan(energies).all():
        return library
    return replace(library, energies=member_energies(library, crystals, energies))


def hull_energies(path: str | os.PathLike[str], crystals: Crystals) -> Floats:
    """Return the energies above the convex hull that a training file gives, NaN where it does not.

    An element is as unstable as its formation energy, where that is the larger number: in some
    tables the hull of an element is drawn through the only form that they hold.

    Parameters
    ----------
    path : path
    crystals : Crystals
        Of that file.

    Returns
    -------
    (n_crystals,) array [eV/atom]
    """
    unknown = np.full(len(crystals), np.nan)
    if not Path(path).name.removesuffix(".gz").endswith(".csv"):
        return unknown
    table = read_columns(path, [_HULL, _FORMATION])
    if _HULL not in table:
        return unknown
    above = np.array([_number(text) for text in table[_HULL]])
    formation = np.array([_number(text) for text in table.get(_FORMATION, [""] * len(above))])
    numbers = np.split(crystals.numbers, crystals.offsets[1:-1])
    is_element = np.array([len(np.unique(one)) == 1 for one in numbers])
    return np.where(is_element, np.fmax(above, formation), above)


def _number(text: str) -> float:
    return float(text) if text.strip() else float("nan")
