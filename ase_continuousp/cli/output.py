"""Files that verbs write beside structures: checked before long work, written whole."""

from __future__ import annotations

from pathlib import Path


def check_file(option: str, path: Path | None) -> None:
    """Raise as `check_place` unless a file can be written there; no path is fine.

    Examples
    --------
    >>> check_file("--json", None)
    """
    from ase_continuousp.io.replacing import check_place

    if path is not None:
        check_place(option, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from ase_continuousp.io.replacing import replacing

    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
