"""The restart file of an annealed run: everything that the next step depends on, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.io.jsonio import read_json, write_json
from ase.optimize.optimize import RestartError

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.io.replacing import renaming
from ase_continuousp.sampling.state import SamplerState

FORMAT = "ase-continuousp-anneal"
VERSION = 1


def state_to_dict(state: SamplerState) -> dict[str, Any]:
    """Return a state as plain arrays and numbers that JSON keeps bit for bit."""
    return {
        "positions": state.crystals.positions,
        "cells": state.crystals.cells,
        "numbers": state.crystals.numbers,
        "offsets": state.crystals.offsets,
        "energy": state.evaluation.energy,
        "energies": state.evaluation.energies,
        "forces": state.evaluation.forces,
        "stress": state.evaluation.stress,
        "random": dict(state.random),
        "step": state.step,
        "accepted": state.accepted,
        "scale": state.scale,
    }


def state_from_dict(data: dict[str, Any]) -> SamplerState:
    """Return the state that `state_to_dict` wrote down."""
    return SamplerState(
        crystals=Crystals(data["positions"], data["cells"], data["numbers"], data["offsets"]),
        evaluation=Evaluation(data["energy"], data["energies"], data["forces"], data["stress"]),
        random=data["random"],
        step=int(data["step"]),
        accepted=data["accepted"],
        scale=data["scale"],
    )


def save(path: str | Path, data: dict[str, Any]) -> None:
    """Write a restart file so that a kill at any moment leaves the old or the new one whole."""
    # After every step, a few milliseconds: too often to wait for the disk.
    with renaming(path) as draft, draft.open("w", encoding="utf-8") as handle:
        write_json(handle, {"format": FORMAT, "version": VERSION, **data})


def load(path: str | Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a restart file written with the same settings.

    Raises
    ------
    ase.optimize.optimize.RestartError
        If the file is not a restart file of an annealed run, or was written with other settings.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            data = read_json(handle, always_array=False)
    except Exception as error:
        raise RestartError(f"restart file {path} is not readable as JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise RestartError(f"restart file {path} was not written by AnnealedLangevin")
    if data["version"] != VERSION:
        raise RestartError(f"restart file {path} has version {data['version']}, not {VERSION}")
    for name, value in settings.items():
        stored = data["settings"].get(name)
        if not np.array_equal(np.asarray(stored), np.asarray(value)):
            raise RestartError(
                f"restart file {path} was written with {name}={stored}, not {value}: "
                "delete it or use the same settings"
            )
    return data


def count_frames(path: str | Path) -> int:
    """Return how many complete frames an ASE trajectory file holds; 0 if there is none."""
    try:
        with open(path, "rb") as handle:
            head = handle.read(40)
    except FileNotFoundError:
        return 0
    if len(head) < 40:
        return 0
    return int(np.frombuffer(head, np.dtype("<i8"), 1, 32)[0])


def keep_frames(path: str | Path, n_frames: int) -> None:
    """Drop the frames of an ASE trajectory file after the first `n_frames`.

    A kill can fall between a frame and the restart file. The number of frames in the header is
    what readers and appenders go by (`ase.io.ulm`); the dropped bytes stay behind unread.
    """
    present = count_frames(path)
    if present == 0 or n_frames == 0:
        Path(path).unlink(missing_ok=True)  # a torn header could not be appended to
        return
    if present <= n_frames:
        return
    with open(path, "r+b") as handle:
        handle.seek(32)
        handle.write(np.array([n_frames], dtype="<i8").tobytes())
