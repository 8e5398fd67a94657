"""Text files that verbs write beside structures: checked before long work, written whole."""

from __future__ import annotations

from pathlib import Path


def check_text_file(option: str, path: Path | None) -> None:
    """Raise unless a file can be written there; no path is fine.

    Raises
    ------
    ValueError
        If the path is a folder.
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> check_text_file("--json", None)
    """
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"{option} must not be a folder: {path}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{option} must lie in an existing folder: {path}")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from ase_continuousp.io.replacing import replacing

    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
