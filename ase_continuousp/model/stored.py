"""Files of tensors with a description, and one clear error for those that are something else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor


def read_tensors(
    what: str, path: str | os.PathLike[str], expected: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file and its description.

    Parameters
    ----------
    what : str
        Such as "judge", for messages.
    path : path
    expected : str
        Its format, which the description names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is of another format.
    safetensors.SafetensorError
        If it is damaged.

    Examples
    --------
    >>> read_tensors("judge", "nowhere.safetensors", "judge-1")
    Traceback (most recent call last):
    FileNotFoundError: judge: no such file: nowhere.safetensors
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what}: no such file: {os.fspath(path)}")
    with safe_open(path, framework="pt") as stream:
        about: dict[str, str] = stream.metadata() or {}
        if about.get("format") != expected:
            raise ValueError(f"format is {about.get('format')!r}, not {expected!r}")
        return {name: stream.get_tensor(name) for name in stream.keys()}, about  # noqa: SIM118


@contextmanager
def refusing(what: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong with the content of a file into one ValueError that names it.

    Parameters
    ----------
    what : str
        Such as "judge".
    path : path

    Examples
    --------
    >>> with refusing("judge", "some.file"):
    ...     raise KeyError("weight")
    Traceback (most recent call last):
    ValueError: judge: some.file holds no judge: 'weight'
    """
    try:
        yield
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{what}: {os.fspath(path)} holds no {what}: {reason}") from None
