"""Rows of data files, read one after the other and parsed apart.

A file is cut into rows without understanding them, which is quick and happens in one process; each
row is then parsed on its own, anywhere, and a bad one spoils no other.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import ase.db
import ase.io
import ijson
from ase import Atoms

from ase_continuousp.io.cif import atoms_of_cif
from ase_continuousp.io.convert import from_structures, to_atoms
from ase_continuousp.io.extxyz import check_extxyz
from ase_continuousp.io.files import read_atoms

_COMPRESSED: dict[str, Callable[..., IO[Any]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
# Columns and keys that name a crystal, the first found counts.
_IDS = ("material_id", "entry_id", "mat_id", "id", "sid", "name")
_DATABASE_ROWS = 500  # ase.db fetches all that is selected at once


@dataclass(frozen=True)
class Row:
    """One row of a data file, not yet parsed.

    Parameters
    ----------
    label : str
        What the file calls it; empty if it has no name.
    parse : callable
        Turns the content into Atoms; a function of a module, so that rows travel to other
        processes.
    content : object
    """

    label: str
    parse: Callable[[Any], list[Atoms]]
    content: Any

    def atoms(self) -> list[Atoms]:
        """Return the crystals of the row, nearly always one.

        Raises
        ------
        ValueError
            If it cannot be parsed.
        """
        try:
            return self.parse(self.content)
        except Exception as error:  # each format has its own zoo of exceptions
            raise ValueError(str(error) or type(error).__name__) from error


def iterate_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Read the rows of a data file or folder, one after the other; little is in memory at a time.

    Formats, by the ending (``.gz``, ``.bz2`` or ``.xz`` may follow the first four):

    ============== ======================================================================
    .csv           a column ``cif`` with the text of a CIF
    .extxyz, .xyz  frames
    .cif           the file is one row
    .json          pymatgen: a list of Structures or of entries that hold one, or an object
                   with such a list named ``entries`` or ``structures``, or one Structure
    .db            ase.db
    .aselmdb       ase-db-backends, as of OMat24 (extra ``data``)
    .traj          ASE's trajectories
    folder         all such files in it and below, by name
    any other      what ASE recognizes, read whole
    ============== ======================================================================

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ImportError
        If a package is missing; the message names the extra.
    ValueError
        If the file is broken as a whole (not only in a row), or the folder holds no such file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import bulk
    >>> with TemporaryDirectory() as folder:
    ...     bulk("Cu").write(f"{folder}/copper.cif")
    ...     bulk("NaCl", "rocksalt", a=5.64).write(f"{folder}/salt.extxyz")
    ...     [(row.label, len(row.atoms()[0])) for row in iterate_rows(folder)]
    [('copper.cif', 1), ('salt.extxyz:0', 2)]
    """
    source = Path(path)
    if source.is_dir():
        yield from _folder_rows(source)
        return
    if not source.is_file():
        raise FileNotFoundError(f"data file not found: {source}")
    ending = ending_of(source.name)
    reader = _READERS.get(ending, _other_rows)
    n_read = 0
    try:
        for row in reader(source):
            yield row
            n_read += 1
    except ImportError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"data: {source} cannot be read after {n_read} rows: {reason}") from error


def files_of(folder: Path) -> Iterator[Path]:
    """Find the data files in a folder and below, by name."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    for name, is_folder in found:
        if name.startswith("."):
            continue
        if is_folder:
            yield from files_of(folder / name)
        elif ending_of(name) in _READERS:
            yield folder / name


def _folder_rows(folder: Path) -> Iterator[Row]:
    n_files = 0
    for file in files_of(folder):
        n_files += 1
        name = file.relative_to(folder).as_posix()
        for number, row in enumerate(iterate_rows(file)):
            label = name if ending_of(name) == ".cif" else f"{name}:{row.label or number}"
            yield Row(label, row.parse, row.content)
    if not n_files:
        raise ValueError(f"data: folder {folder} holds no {', '.join(_READERS)} file")


def open_data(path: Path, mode: str = "rt") -> IO[Any]:
    """Open a file, compressed or not."""
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "replace", "newline": ""}
    opened: IO[Any] = _COMPRESSED.get(path.suffix.lower(), open)(path, mode, **text)
    return opened


def ending_of(name: str) -> str:
    """Return the ending that tells the format, without that of a compression."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # CIFs of large cells
    with open_data(path) as stream:
        reader = csv.DictReader(stream)
        names = list(reader.fieldnames or [])
        if "cif" not in names:
            raise ValueError(f"it must have a column 'cif', found {names}")
        label = next((name for name in _IDS if name in names), None)
        for row in reader:
            yield Row((row[label] or "") if label else "", _parse_cif, row["cif"])


def _cif_rows(path: Path) -> Iterator[Row]:
    with open_data(path) as stream:
        yield Row(path.name, _parse_cif, stream.read())


def _extxyz_rows(path: Path) -> Iterator[Row]:
    with open_data(path) as stream:
        number, lost = 0, ""
        for line in stream:
            number += 1
            try:
                count = int(line)
            except ValueError:
                if line.strip() and not lost:
                    lost = f"line {number} must be the number of atoms: {line.strip()[:40]!r}"
                continue  # until a frame begins
            if lost:
                yield Row("", _refuse, lost)
                lost = ""
            frame = [line, *(text for _, text in zip(range(count + 1), stream, strict=False))]
            number += len(frame) - 1
            yield Row("", _parse_extxyz, "".join(frame))
        if lost:
            yield Row("", _refuse, lost)


def _json_rows(path: Path) -> Iterator[Row]:
    with open_data(path, "rb") as stream:
        place, is_single = _json_place(stream)
    with open_data(path, "rb") as stream:
        for item in ijson.items(stream, "" if is_single else place, use_float=True):
            label = ""
            if isinstance(item, dict):
                label = str(next((item[name] for name in _IDS if item.get(name)), ""))
            yield Row(label, _parse_structure, item)


def _json_place(stream: IO[bytes]) -> tuple[str, bool]:
    """Return where the structures are, and whether the whole file is one of them."""
    for prefix, event, value in ijson.parse(stream):
        if prefix == "" and event == "start_array":
            return "item", False
        if prefix == "" and event == "map_key" and value in ("entries", "structures"):
            return f"{value}.item", False
        if prefix == "" and event == "map_key" and value in ("lattice", "sites", "structure"):
            return "", True
    raise ValueError(
        "it must hold pymatgen structures: a list, or an object with 'entries' or 'structures'"
    )


def _database_rows(path: Path) -> Iterator[Row]:
    database = ase.db.connect(path, type="db", use_lock_file=False)
    remaining, last = database.count(), 0
    while remaining > 0:
        for row in database.select(f"id>{last},id<={last + _DATABASE_ROWS}"):
            remaining -= 1
            yield Row(_database_label(row), _parse_row, row)
        last += _DATABASE_ROWS


def _lmdb_rows(path: Path) -> Iterator[Row]:
    if find_spec("ase_db_backends") is None:
        raise ImportError(f"{path} needs ase-db-backends: pip install 'ase-continuousp[data]'")
    database = ase.db.connect(path, type="aselmdb", readonly=True, use_lock_file=False)
    for row in database.select():
        yield Row(_database_label(row), _parse_row, row)


def _database_label(row: Any) -> str:
    known = {**row.data, **row.key_value_pairs}
    return str(next((known[name] for name in _IDS if name in known), f"id {row.id}"))


def _trajectory_rows(path: Path) -> Iterator[Row]:
    for atoms in ase.io.iread(path, index=":", format="traj"):
        yield Row("", list, (atoms,))


def _other_rows(path: Path) -> Iterator[Row]:
    for atoms in read_atoms(path):
        yield Row("", list, (atoms,))


def _parse_cif(text: str | None) -> list[Atoms]:
    if not (text or "").strip():
        raise ValueError("there is no CIF")
    return atoms_of_cif(text or "")


def _parse_extxyz(text: str) -> list[Atoms]:
    check_extxyz(text.splitlines())
    return list(ase.io.read(io.StringIO(text), index=":", format="extxyz"))


def _parse_structure(item: Any) -> list[Atoms]:
    from pymatgen.core import Structure

    found = item
    with suppress(AttributeError):
        found = item.get("structure", item)
    if not isinstance(found, dict) or "lattice" not in found:
        raise ValueError("it is no pymatgen Structure and holds none")
    structure = Structure.from_dict(found)
    return to_atoms(from_structures(structure))


def _parse_row(row: Any) -> list[Atoms]:
    return [row.toatoms()]


def _refuse(reason: str) -> list[Atoms]:
    raise ValueError(reason)


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".extxyz": _extxyz_rows,
    ".xyz": _extxyz_rows,
    ".cif": _cif_rows,
    ".json": _json_rows,
    ".db": _database_rows,
    ".aselmdb": _lmdb_rows,
    ".traj": _trajectory_rows,
}
