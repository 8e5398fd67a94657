"""The searches by name; each takes and returns plain arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.neighborlist import _cpu, _reference

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shifts = NDArray[np.int32]
SearchBatch = Callable[
    [Floats, Floats, Integers, Floats, bool], tuple[Integers, Integers, Shifts, Integers]
]

BACKENDS: dict[str, SearchBatch] = {
    "reference": _reference.search_batch,
    "cpu": _cpu.search_batch,
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
