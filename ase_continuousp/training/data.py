"""Crystals to train on, parsed once into a cache keyed by the content of the file."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import current_process
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.io.rows import ending_of, files_of, iterate_rows, open_data
from ase_continuousp.training.parsing import parse_rows
from ase_continuousp.training.store import CrystalStore, StoreWriter

_log = logging.getLogger(__name__)
_VERSION = b"2"  # raised when the parsed form changes, so that old caches are not read
_BLOCK = 1 << 20


def open_crystals(
    path: str | os.PathLike[str], *, processes: int = 1, progress: bool = False
) -> CrystalStore:
    """Open the crystals of a data file or folder; what is not selected stays on the disk.

    The first time, rows are read one after the other, parsed, checked, and written to a cache; bad
    ones are left out and listed in ``bad``. Later the cache is used, whatever the file is called
    then. Several processes may open the same file: one of them parses it.

    Cost: about 1 ms per CIF on the first read; later the file is only hashed.

    Parameters
    ----------
    path : path
        Formats: :func:`ase_continuousp.io.rows.iterate_rows`.
    processes : int
        Worker processes that parse; more than one need a script with the usual
        ``if __name__ == "__main__":``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    CrystalStore

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the cache cannot be written.
    ValueError
        If the file is broken as a whole or holds no row.
    RuntimeError
        If workers are asked for by a script that they cannot import.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> with TemporaryDirectory() as folder:
    ...     bulk("NaCl", "rocksalt", a=5.64).write(f"{folder}/salt.extxyz")
    ...     open_crystals(f"{folder}/salt.extxyz").select([0]).numbers.tolist()
    [11, 17]
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"data file not found: {source}")
    folder = cache_folder()
    cache = folder / f"crystals-{_content_hash(source)}"
    if not cache.is_dir():
        if processes > 1:
            _refuse_unguarded()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A process that died holds no lock; what it left is overwritten.
            with FileLock(folder / f"{cache.name}.lock"):
                if not cache.is_dir():
                    _fill(cache, source, processes, progress)
        except OSError as error:
            raise OSError(
                f"parsed crystals cannot be written to {folder}: {error.strerror or error}; "
                "set ASE_CONTINUOUSP_CACHE to a folder with room"
            ) from error
    return CrystalStore(cache, str(source))


def _refuse_unguarded() -> None:
    """Raise in a worker that is importing a script which starts workers.

    It would wait for the lock that the process which waits for it holds.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself asks
        raise RuntimeError(
            "processes: more than one need a script whose work stands behind "
            "\"if __name__ == '__main__':\", as every worker imports the script"
        )


def read_crystals(
    path: str | os.PathLike[str], *, processes: int = 1, progress: bool = False
) -> Crystals:
    """Return all crystals of a data file, in memory; no row may be bad.

    Parameters
    ----------
    path : path
    processes : int
        Worker processes that parse. More than one needs a script with the usual
        ``if __name__ == "__main__"`` guard.
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
        As :func:`open_crystals`, and if a row is bad; the message names the row.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> with TemporaryDirectory() as folder:
    ...     bulk("NaCl", "rocksalt", a=5.64).write(f"{folder}/salt.extxyz")
    ...     read_crystals(f"{folder}/salt.extxyz").numbers.tolist()
    [11, 17]
    """
    store = open_crystals(path, processes=processes, progress=progress)
    if store.bad:
        first, others = store.bad[0], len(store.bad) - 1
        also = f" (and {others} more bad rows)" if others else ""
        raise ValueError(f"data: row {first.row} of {path}: {first.reason}{also}")
    return store.all()


def cache_folder() -> Path:
    """Return the folder in which parsed data files are kept.

    ``$ASE_CONTINUOUSP_CACHE``, else where the platform keeps a user's caches (on Linux
    ``$XDG_CACHE_HOME`` or ``~/.cache``).

    Examples
    --------
    >>> cache_folder().name
    'ase-continuousp'
    """
    chosen = os.environ.get("ASE_CONTINUOUSP_CACHE")
    return Path(chosen) if chosen else user_cache_path("ase-continuousp", appauthor=False)


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
    with open_data(Path(path)) as stream:
        yield csv.DictReader(stream)


def _fill(cache: Path, source: Path, processes: int, progress: bool) -> None:
    """Parse a file into a folder beside the cache, and give it the cache's name when complete."""
    draft = cache.with_name(f"{cache.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        bar = tqdm(desc=f"parsing {source.name}", disable=not progress, unit="row", delay=2.0)
        with bar, StoreWriter(draft) as writer:
            for chunk in parse_rows(iterate_rows(source), processes=processes):
                writer.add(chunk)
                bar.update(chunk.n_rows)
            writer.finish(str(source))
        store = CrystalStore(draft)
        if not store.n_rows:
            raise ValueError(f"data: {source} holds no row")
        _log.info("parsed %d of %d rows of %s into %s", len(store), store.n_rows, source, cache)
        os.replace(draft, cache)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256(_VERSION)
    # The ending says how the content is read.
    digest.update(ending_of(path.name).encode())
    for file in files_of(path) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(f"\0{file.relative_to(path).as_posix()}\0{file.stat().st_size}".encode())
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:24]
