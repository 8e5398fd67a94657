"""All crystals of some files at once, bad rows left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ase_continuousp.crystals import Crystals
from ase_continuousp.training.bad_rows import report_bad_rows
from ase_continuousp.training.data import open_crystals
from ase_continuousp.training.store import CrystalFiles, CrystalStore

_log = logging.getLogger(__name__)


def good_crystals(
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], *, processes: int = 1
) -> Crystals:
    """Return the crystals of one or more files, and log what was left out.

    Parameters
    ----------
    data : path or sequence of paths
        See :func:`ase_continuousp.training.data.open_crystals`.
    processes : int
        Worker processes that parse CIFs.

    Raises
    ------
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> good_crystals("nowhere.csv")
    Traceback (most recent call last):
    FileNotFoundError: data file not found: nowhere.csv
    """
    return CrystalFiles(good_stores(data, processes=processes)).all()


def good_stores(
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], *, processes: int = 1
) -> list[CrystalStore]:
    """Return the stores of one or more files, and log what was left out of them.

    Parameters
    ----------
    data, processes
        As of :func:`good_crystals`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> good_stores([])
    []
    """
    sources = [data] if isinstance(data, str | os.PathLike) else list(data)
    stores = [open_crystals(source, processes=processes) for source in sources]
    told = report_bad_rows(stores, None)
    if told:
        _log.warning("left out: %s", told)
    return stores
