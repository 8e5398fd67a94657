"""Models that ship with the package, one folder each."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def list_models() -> list[str]:
    """Return the names of the shipped models.

    Examples
    --------
    >>> "perov5" in list_models()
    True
    """
    return sorted(card.parent.name for card in _FOLDER.glob("*/card.json"))


def model_path(name: str) -> Path:
    """Return the folder of a shipped model.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that ship.

    Examples
    --------
    >>> model_path("perov5").name
    'perov5'
    """
    if name not in list_models():
        raise ValueError(f"model must be one of {list_models()}: {name!r}")
    return _FOLDER / name
