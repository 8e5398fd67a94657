"""Structure files, chosen by their ending."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.db.core import check as check_key_value_pairs
from ase.io.formats import string2index

from ase_continuousp.io.cif import atoms_of_cif, write_cif_file
from ase_continuousp.io.extxyz import check_extxyz
from ase_continuousp.io.replacing import check_place

Index = int | str | slice


def read_atoms(path: str | os.PathLike[str], index: Index = ":") -> list[Atoms]:
    """Return the structures of a file, in its order.

    Formats: CIF, extxyz (also named .xyz), traj, ase.db, and whatever else ASE recognizes.
    Results of calculations come back as a SinglePointCalculator, key-value pairs and data of an
    ase.db in ``atoms.info``.

    Parameters
    ----------
    path : str or path
    index : int, slice or str like "-1" or "::10"

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read, a CIF has partly occupied sites, or nothing is selected.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import read_atoms, write_atoms
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "metals.db")
    ...     write_atoms(path, [bulk("Cu"), bulk("Al")])
    ...     [str(atoms.symbols) for atoms in read_atoms(path)]
    ['Cu', 'Al']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be an existing file: {path}")
    chosen = string2index(index) if isinstance(index, str) else index
    if isinstance(chosen, str):
        raise ValueError(f"index must be a number or a slice: got {index!r}")
    reader = _READERS.get(path.suffix.lower(), _read_other)
    try:
        images = reader(path)
        picked = images[chosen] if isinstance(chosen, slice) else [images[chosen]]
    except Exception as error:  # each format has its own zoo of exceptions
        reason = str(error) or type(error).__name__
        raise ValueError(f"path must be a readable structure file: {path}: {reason}") from error
    if not picked:
        raise ValueError(f"path must hold a structure at index {index}: {path}: {len(images)} held")
    for image in picked:
        image.info = {key: _plain(value) for key, value in image.info.items()}
    return picked


def write_atoms(path: str | os.PathLike[str], atoms: Atoms | Sequence[Atoms]) -> None:
    """Write structures to a file, in order, replacing what was there.

    The file appears only when it is complete: a failure leaves the old file, or none. Results of an
    attached calculator and ``atoms.info`` are kept by all formats but CIF; an ase.db has no place
    for energies of single atoms. Entries of ``atoms.info`` that can be its key-value pairs become
    such, the others go to its `data`.

    Parameters
    ----------
    path : str or path
        Ends in .cif, .extxyz, .traj or .db.
    atoms : Atoms or sequence of Atoms

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the ending is another, there is no structure, or one cannot be written as a CIF.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import write_atoms
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atoms(Path(folder, "copper.cif"), bulk("Cu"))
    ...     sorted(p.name for p in Path(folder).iterdir())
    ['copper.cif']
    """
    path = check_writable(path)
    images = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not images:
        raise ValueError("atoms must hold at least one structure: got none")
    for n, image in enumerate(images):
        if not isinstance(image, Atoms):
            raise TypeError(f"atoms[{n}] must be an ASE Atoms object: got {type(image).__name__}")
    # A link keeps pointing at its file. The folder beside it also takes in whatever a format
    # leaves next to its file (SQLite journals).
    target = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as folder:
        draft = Path(folder, target.name)
        _WRITERS[path.suffix.lower()](draft, images)
        os.replace(draft, target)


def check_writable(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return the path if `write_atoms` can write there; callers ask before long work.

    Parameters
    ----------
    path : str or path
    name : str
        What messages call the argument.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    PermissionError
        If nothing may be written to the folder.
    ValueError
        If the ending is none that can be written.

    Examples
    --------
    >>> from ase_continuousp.io import check_writable
    >>> check_writable("found.cif").name
    'found.cif'
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"{name} must end in one of {', '.join(_WRITERS)}: got {str(path)!r}")
    check_place(name, path)
    return path


def _read_cif(path: Path) -> list[Atoms]:
    return atoms_of_cif(path.read_text(encoding="utf-8", errors="replace"))


def _read_extxyz(path: Path) -> list[Atoms]:
    with path.open(encoding="utf-8") as lines:
        check_extxyz(lines)
    return list(ase.io.read(path, index=":", format="extxyz"))


def _read_traj(path: Path) -> list[Atoms]:
    return list(ase.io.read(path, index=":", format="traj"))


def _read_db(path: Path) -> list[Atoms]:
    images = []
    for row in ase.db.connect(path, type="db", use_lock_file=False).select():
        atoms = row.toatoms()
        atoms.info = {**row.data, **row.key_value_pairs}
        images.append(atoms)
    return images


def _read_other(path: Path) -> list[Atoms]:
    return list(ase.io.read(path, index=":"))


def _write_extxyz(path: Path, images: Sequence[Atoms]) -> None:
    ase.io.write(path, images, format="extxyz")


def _write_traj(path: Path, images: Sequence[Atoms]) -> None:
    ase.io.write(path, images, format="traj")


def _write_db(path: Path, images: Sequence[Atoms]) -> None:
    with ase.db.connect(path, type="db", append=False, use_lock_file=False) as database:
        for image in images:
            pairs, data = split_info(image.info)
            database.write(image, key_value_pairs=pairs, data=data)


def split_info(info: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an ase.db accepts as key-value pairs, and the rest."""
    pairs: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for key, value in info.items():
        plain = _plain(value)
        try:
            check_key_value_pairs({key: plain})
            pairs[key] = plain
        except (TypeError, ValueError):  # a reserved word, an array, a string like a number
            data[str(key)] = plain
    return pairs, data


def _plain(value: Any) -> Any:
    """Return numpy scalars, which extxyz reads and ase.db refuses, as those of Python."""
    return value.item() if isinstance(value, np.generic) else value


_READERS: dict[str, Callable[[Path], list[Atoms]]] = {
    ".cif": _read_cif,
    ".extxyz": _read_extxyz,
    ".xyz": _read_extxyz,
    ".traj": _read_traj,
    ".db": _read_db,
}

_WRITERS: dict[str, Callable[[Path, Sequence[Atoms]], None]] = {
    ".cif": write_cif_file,
    ".extxyz": _write_extxyz,
    ".traj": _write_traj,
    ".db": _write_db,
}
