"""Files that verbs write beside structures: checked before long work, written whole."""

from __future__ import annotations

from pathlib import Path

import typer


def check_file(option: str, path: Path | None) -> None:
    """Raise as `check_place` unless a file can be written there; no path is fine.

    Examples
    --------
    >>> check_file("--json", None)
    """
    from ase_continuousp.io.replacing import check_place

    if path is not None:
        check_place(option, path)


def tell_if_without_library(model: str, start: str) -> None:
    """Say on standard error that a mixed search of this model had no prototypes to begin with."""
    from ase_continuousp.model.checkpoint import load_model
    from ase_continuousp.search.sources import PROTOTYPES

    if start == "mixed" and not (load_model(model).path / PROTOTYPES).is_file():
        typer.echo(
            f"model {model} has no library of prototypes: the search began with random crystals "
            "alone (make one with ase-continuousp library)",
            err=True,
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from ase_continuousp.io.replacing import replacing

    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
