"""Files of tensors with a description, and one clear error for those that are something else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ase_continuousp.io.replacing import replacing

_LENGTH = 8  # bytes that say how long the header is, and what it is filled up to


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    about: Mapping[str, str] | None = None,
) -> None:
    """Write tensors and a description as safetensors, by a rename.

    Equal tensors make equal files, which the library does not promise (its header keeps the
    description in any order), and others may read them as the umask says, where the library lets
    nobody else.

    Parameters
    ----------
    path : path
    tensors : mapping of str to Tensor
    about : mapping of str to str, optional

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "one.safetensors")
    ...     write_tensors(path, {"a": torch.ones(2)}, {"format": "judge-1"})
    ...     read_tensors("judge", path, "judge-1")
    ({'a': tensor([1., 1.])}, {'format': 'judge-1'})
    """
    made = save(dict(tensors), None if about is None else dict(about))
    end = _LENGTH + int.from_bytes(made[:_LENGTH], "little")
    header = json.loads(made[_LENGTH:end])
    if about is not None:
        header["__metadata__"] = dict(sorted(about.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    with replacing(path) as draft:
        draft.write_bytes(len(text).to_bytes(_LENGTH, "little") + text + made[end:])


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
