"""The search of one formula of many, as workers do it."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ase_continuousp.model.checkpoint import TrainedModel, file_hashes, load_model
from ase_continuousp.search.bounds import Bounds
from ase_continuousp.search.candidates import Candidate
from ase_continuousp.search.predict import predict
from ase_continuousp.search.second import SecondCalculator


@dataclass(frozen=True)
class Settings:
    """All that a search depends on besides the formula.

    Parameters
    ----------
    model : str
        Absolute folder; the same on all machines that take part.
    n_samples, formula_units, start, spacegroup, bounds, window, implausible, relax, seed,
    device
        As of :func:`~ase_continuousp.search.predict.predict`.
    refine : SecondCalculator or None
        What relaxes the best candidates afterwards.
    """

    model: str
    n_samples: int
    formula_units: tuple[int, ...] | None
    start: str
    spacegroup: int | str | None
    bounds: Bounds | None
    window: float | None
    implausible: bool
    relax: bool
    refine: SecondCalculator | None
    seed: int
    device: str

    def described(self) -> dict[str, Any]:
        """Return the settings as plain values that results depend on: all but the device."""
        values = asdict(self)
        del values["device"]
        return values

    def files(self) -> dict[str, str]:
        """Return the hashes of the files of the model folder: all of them make the results."""
        return file_hashes(self.model)


@dataclass(frozen=True)
class Outcome:
    """What a search ended with.

    Parameters
    ----------
    candidates : tuple of Candidate
        Best first.
    reason : str
        Why there is none, if the formula was refused.
    seconds : float
        Wall time of the worker.
    """

    candidates: tuple[Candidate, ...]
    reason: str
    seconds: float


def search_key(unit: ArrayLike, settings: Settings, files: Mapping[str, str]) -> str:
    """Return what tells a search from all others: the hash of formula, model files and settings.

    Parameters
    ----------
    unit : (n_atoms,) array of int
        Atoms of one formula unit, in any order.
    settings : Settings
    files : dict
        ``settings.files()``, which is asked for once for many formulas.
    """
    described = settings.described()
    del described["model"]  # the folder does not matter, what is in it does
    content = {"unit": np.sort(unit).tolist(), "files": dict(files), **described}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"s{digest[:20]}"  # a number to be stored as text would be refused


def check_files(folder: str, files: Mapping[str, str]) -> str:
    """Return what is wrong with a model folder of this machine, nothing if it holds these files.

    Parameters
    ----------
    folder : str
    files : mapping from name to hash
        As of :meth:`Settings.files`.

    Examples
    --------
    >>> check_files("no/such/folder", {})
    'there is no model folder no/such/folder'
    """
    if not Path(folder).is_dir():
        return f"there is no model folder {folder}"
    found = file_hashes(folder)
    for name in sorted({*files, *found}):
        if files.get(name) != found.get(name):
            return f"{name} of the model folder {folder} is not the one of this search"
    return ""


def search_one(formula: str, settings: Settings, files: Mapping[str, str]) -> Outcome:
    """Search the crystals of a formula; a function of its own, so that workers find it.

    Raises
    ------
    RuntimeError
        If the model folder of this machine does not hold these files.
    """
    began = time.perf_counter()
    # Before what may refuse the formula: a machine without the model is no fault of the formula.
    model = _model(settings.model, tuple(sorted(files.items())))
    try:
        found = predict(
            formula,
            model=model,
            n_samples=settings.n_samples,
            formula_units=settings.formula_units,
            start=settings.start,
            spacegroup=settings.spacegroup,
            bounds=settings.bounds,
            window=settings.window,
            implausible=settings.implausible,
            relax=settings.relax,
            seed=settings.seed,
            device=settings.device,
        )
        if settings.refine is not None:
            found = settings.refine(found)
    except ValueError as error:  # what is wrong with the formula is no fault of the worker
        return Outcome((), str(error), time.perf_counter() - began)
    reason = "" if found else "no start ended in a crystal of reasonable size"
    return Outcome(tuple(found), reason, time.perf_counter() - began)


@lru_cache(maxsize=2)
def _model(folder: str, files: tuple[tuple[str, str], ...]) -> TrainedModel:
    problem = check_files(folder, dict(files))
    if problem:
        raise RuntimeError(f"{socket.gethostname()}: {problem}")
    return load_model(folder)
