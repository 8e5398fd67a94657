"""The searches by name; each takes and returns plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.neighborlist import _cpu, _reference

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]
SearchBatch = Callable[
    [Floats, Floats, Integers, Floats, bool], tuple[Integers, Integers, Shifts, Integers]
]


def _search_on_cuda(
    positions: Floats, cells: Floats, offsets: Integers, cutoffs: Floats, half: bool
) -> tuple[Integers, Integers, Shifts, Integers]:
    from numba import cuda

    if not cuda.is_available():
        raise ValueError(
            "backend='cuda' needs a CUDA device and Numba's part for it (extra 'cuda'): "
            "Numba finds no device"
        )
    there: Any = import_module("ase_continuousp.neighborlist._cuda")  # imports torch
    found: tuple[Integers, Integers, Shifts, Integers] = there.search_batch(
        positions, cells, offsets, cutoffs, half
    )
    return found


BACKENDS: dict[str, SearchBatch] = {
    "reference": _reference.search_batch,
    "cpu": _cpu.search_batch,
    "cuda": _search_on_cuda,
}


def choose(backend: str) -> SearchBatch:
    """Return the search of that name, the fastest one for ``"auto"``.

    Raises
    ------
    ValueError
        If there is no such backend.
    """
    name = "cpu" if backend == "auto" else backend
    if name not in BACKENDS:
        known = ", ".join(repr(key) for key in ("auto", *BACKENDS))
        raise ValueError(f"backend must be one of {known}: {backend!r}")
    return BACKENDS[name]
