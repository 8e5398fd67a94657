"""A Dask cluster: reached by its address, and asked whether its machines can do our searches."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ase_continuousp import __version__
from ase_continuousp.search.task import check_files


def connect(address: str, patience: float = 20.0) -> Any:
    """Return a client of the Dask scheduler at an address.

    Parameters
    ----------
    address : str
        Such as ``tcp://10.0.0.1:8786``.
    patience : float [s]
        How long to wait for an answer.

    Returns
    -------
    dask.distributed.Client

    Raises
    ------
    ImportError
        If Dask is not installed.
    ValueError
        If it is no address, or no scheduler answers there.

    Examples
    --------
    >>> connect("nowhere")
    Traceback (most recent call last):
    ValueError: scheduler: nothing answers at nowhere: missing port number in address 'nowhere'
    """
    try:
        from dask.distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise ImportError(
            "scheduler: a cluster needs Dask: pip install 'ase-continuousp[search]'"
        ) from error
    if not address.strip():  # for Dask this would be a cluster of its own
        raise ValueError("scheduler must be an address such as tcp://10.0.0.1:8786: ''")
    try:
        # A client of what is no address leaves Dask's event loop closing, and the next one waiting.
        get_address_host_port(address)
    except ValueError as error:
        raise ValueError(f"scheduler: nothing answers at {address}: {error}") from error
    ended: list[Any] = []

    def attempt() -> None:
        try:
            made: Any = Client(address, timeout=patience, name="ase-continuousp")  # type: ignore[no-untyped-call]
        except Exception as error:  # each of its transports has its own
            ended.append(error)
        else:
            ended.append(made)

    # What listens there but is no scheduler (the dashboard) keeps Dask waiting for ever: its
    # timeout is for the connection alone.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(patience + 5.0)
    if not ended:
        raise ValueError(f"scheduler: what listens at {address} is no Dask scheduler")
    if isinstance(ended[0], Exception):
        raise ValueError(f"scheduler: nothing answers at {address}: {ended[0]}") from ended[0]
    return ended[0]


def check_cluster(client: Any, folder: str, files: Mapping[str, str]) -> int:
    """Raise unless the scheduler and all workers of a cluster can do our searches.

    Parameters
    ----------
    client : dask.distributed.Client
    folder : str
        Of the model.
    files : mapping from name to hash
        What has to be in it.

    Returns
    -------
    int
        How many workers there are. Those that come later are not asked; tasks that fail on them
        are lost for this time.

    Raises
    ------
    ValueError
        If Python (3.x) or this package is another version there than here or absent, or the
        model is. Names the first machine where it is so.
    """
    here = ".".join(map(str, sys.version_info[:2]))
    versions = client.get_versions(check=False)
    machines = {"the scheduler": versions["scheduler"]}
    machines |= {f"worker {name}": found for name, found in versions["workers"].items()}
    for name, found in machines.items():
        # First: functions do not travel between versions of Python.
        python = ".".join(found["packages"]["python"].split(".")[:2]) if found else "unknown"
        if python != here:
            raise ValueError(f"scheduler: {name} has Python {python}, here is {here}")
    installed = {"the scheduler": client.run_on_scheduler(_version_asker())}
    installed |= _on_workers(client, _version_asker())
    for name, version in installed.items():
        if version != __version__:
            found = "not installed" if version is None else f"version {version}"
            raise ValueError(
                f"scheduler: ase_continuousp on {name} is {found}, here is version {__version__}: "
                "all machines need the same"
            )
    for name, problem in _on_workers(client, check_files, folder, dict(files)).items():
        if problem:
            raise ValueError(f"scheduler: on {name}: {problem}")
    return len(versions["workers"])


def _on_workers(client: Any, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    found = client.run(function, *arguments, on_error="return")
    for name, value in found.items():
        if isinstance(value, BaseException):
            raise ValueError(f"scheduler: worker {name}: {type(value).__name__}: {value}")
    return {f"worker {name}": value for name, value in found.items()}


def _version_asker() -> Callable[[], str | None]:
    """Return a function that travels whole: one of this module needs the package at its goal."""

    def ask() -> str | None:
        try:
            return str(import_module("ase_continuousp").__version__)
        except ImportError:
            return None

    return ask
