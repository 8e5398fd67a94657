"""Crystals to train on, parsed once into a cache keyed by the content of the file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ase_continuousp import io
from ase_continuousp.crystals import Crystals

_log = logging.getLogger(__name__)
_ARRAYS = ("positions", "cells", "numbers", "offsets")
_VERSION = b"1"  # raised when the parsed form changes, so that old caches are not read


def read_crystals(
    path: str | os.PathLike[str], *, processes: int = 1, progress: bool = False
) -> Crystals:
    """Return all crystals of a training file, from the cache if it was parsed before.

    Cost: about 1 ms per CIF on the first read, nothing to speak of later. The cache lies in
    ``$ASE_CONTINUOUSP_CACHE``, else in the user's cache folder.

    Parameters
    ----------
    path : path
        A CSV file (plain or gzip) with a column ``cif``, or any format that
        :func:`ase_continuousp.io.read_atoms` reads (extxyz, traj, ase.db, CIF).
    processes : int
        Worker processes that parse CIFs.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Crystals

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no crystal, has no ``cif`` column, or a crystal is disordered; the
        message names the row.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> with TemporaryDirectory() as folder:
    ...     bulk("NaCl", "rocksalt", a=5.64).write(f"{folder}/salt.extxyz")
    ...     read_crystals(f"{folder}/salt.extxyz").numbers.tolist()
    [11, 17]
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"data file not found: {source}")
    cache = cache_folder() / f"crystals-{_content_hash(source)}.npz"
    if cache.is_file():
        with np.load(cache) as stored:
            return Crystals(**{name: stored[name] for name in _ARRAYS})
    crystals = _parse(source, processes, progress)
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f"{cache.stem}.{os.getpid()}.tmp.npz")
    np.savez(temporary, **{name: getattr(crystals, name) for name in _ARRAYS})
    os.replace(temporary, cache)
    _log.info("parsed %d crystals of %s into %s", len(crystals), source, cache)
    return crystals


def cache_folder() -> Path:
    """Return the folder in which parsed training files are kept.

    Examples
    --------
    >>> cache_folder().name
    'ase-continuousp'
    """
    chosen = os.environ.get("ASE_CONTINUOUSP_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ase-continuousp"


def read_cif_column(path: str | os.PathLike[str]) -> list[str]:
    """Return the CIF texts of a CSV file, plain or gzip.

    Raises
    ------
    ValueError
        If there is no column ``cif`` or no row.
    """
    found = read_columns(path, ["cif"])
    if "cif" not in found:
        raise ValueError(f"data: {path} must have a column 'cif', found {column_names(path)}")
    if not found["cif"]:
        raise ValueError(f"data: {path} holds no row")
    return found["cif"]


def read_columns(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return those columns of a CSV file, plain or gzip, that it has."""
    with _opened(path) as reader:
        kept = [name for name in names if name in (reader.fieldnames or [])]
        rows = [[row[name] for name in kept] for row in reader]
    return {name: [row[k] for row in rows] for k, name in enumerate(kept)}


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the columns of a CSV file."""
    with _opened(path) as reader:
        return list(reader.fieldnames or [])


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[csv.DictReader[str]]:
    csv.field_size_limit(sys.maxsize)  # CIFs of large cells
    source = Path(path)
    open_text = gzip.open if source.suffix == ".gz" else open
    with open_text(source, "rt", newline="", encoding="utf-8") as stream:
        yield csv.DictReader(stream)


def _parse(source: Path, processes: int, progress: bool) -> Crystals:
    name = source.name.removesuffix(".gz")
    if not name.endswith(".csv"):
        atoms = io.read_atoms(source, ":")
        if not atoms:
            raise ValueError(f"data: {source} holds no crystal")
        return io.from_atoms(atoms)
    texts = read_cif_column(source)
    if processes > 1 and len(texts) > 1000:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            parsed = list(_tracked(pool.map(_try_cif, texts, chunksize=200), len(texts), progress))
    else:
        parsed = list(_tracked(map(_try_cif, texts), len(texts), progress))
    for row, result in enumerate(parsed):
        if isinstance(result, str):
            raise ValueError(f"data: row {row} of {source}: {result}")
    return Crystals.concatenate([result for result in parsed if isinstance(result, Crystals)])


def _try_cif(text: str) -> Crystals | str:
    # Errors travel as text: the row number is known only to the caller.
    try:
        return io.from_cif_text(text)
    except ValueError as error:
        return str(error)


def _tracked(
    results: Iterable[Crystals | str], total: int, progress: bool
) -> Iterator[Crystals | str]:
    return iter(tqdm(results, total=total, desc="parsing", disable=not progress, unit="crystal"))


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256(_VERSION)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:24]
