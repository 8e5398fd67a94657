"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_place(name: str, path: str | os.PathLike[str]) -> None:
    """Raise unless a file can be written there; callers ask before long work.

    Parameters
    ----------
    name : str
        What messages call the path.
    path : str or path

    Raises
    ------
    ValueError
        If it is a folder.
    FileNotFoundError
        If its folder does not exist.
    PermissionError
        If nothing may be written to its folder.

    Examples
    --------
    >>> check_place("--json", "report.json")
    >>> check_place("--json", "/")
    Traceback (most recent call last):
    ...
    ValueError: --json must not be a folder: /
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{name} must not be a folder: {path}")
    if path.exists() and not path.is_file():
        return  # /dev/stdout, a pipe: no draft lies beside it
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name} must lie in an existing folder: {path}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{name} must lie in a folder that can be written to: {path}")


@contextmanager
def renaming(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a draft that takes the place of a file when the block ends without an error.

    Whoever is killed leaves the old file or the new one. After an error the old file is as it was,
    and no draft is left. The draft lies beside the file and has one fixed name, so that a kill
    leaves at most one, which the next run overwrites. A link keeps pointing at its file; what is no
    file (/dev/stdout, a pipe) is handed out itself.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "answer.txt")
    ...     with renaming(path) as draft:
    ...         _ = draft.write_text("42")
    ...     [file.name for file in Path(folder).iterdir()], path.read_text()
    (['answer.txt'], '42')
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.tmp")
    try:
        yield draft
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `renaming`, but the draft reaches the disk before it is renamed.

    Then even after a power cut either the old file or the new one is there. It takes as long as
    the disk takes: not for what is written many times a second.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "answer.txt")
    ...     with replacing(path) as draft:
    ...         _ = draft.write_text("42")
    ...     [file.name for file in Path(folder).iterdir()], path.read_text()
    (['answer.txt'], '42')
    """
    with renaming(path) as draft:
        yield draft
        if draft.is_file():
            with draft.open("rb+") as stream:
                os.fsync(stream.fileno())
