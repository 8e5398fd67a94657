"""Answers before anything is compiled: what a calculator gives on an empty Numba cache.

Compiling the kernels takes half a minute, once per machine; a small crystal in plain torch takes
some 20 ms. So a process whose kernels are not on disk begins with the latter, and compiles when it
has evaluated so many atoms that compiling would have paid: it never waits much more than twice as
long as it had to. The rule counts atoms and no time, so equal calls give equal numbers.

Both ways are the same function; in float32 they differ by about 1e-6 of the energy. Where results
must not depend even on that (seeded sampling), `settle` comes first.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import torch
from numba.core import event

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.lattice import heights
from ase_continuousp.model import _chains
from ase_continuousp.model.derivatives import AutogradEnergy, ModelEnergy
from ase_continuousp.model.pairs import TorchPairs

logger = logging.getLogger(__name__)

# Atoms of all crystals that a process evaluates before it compiles: 2 ms each.
PLAIN_ATOMS = 10_000
# Distances that the plain search may look at for one crystal: two seconds, some 400 atoms.
MOST_DISTANCES = 2e7

_evaluated = 0
_settled: set[torch.dtype] = set()


class NotCompiledError(Exception):
    """A kernel is neither in memory nor on disk."""


class _Refusal(event.Listener):  # type: ignore[misc]
    def __init__(self) -> None:
        self.thread = get_ident()

    def on_start(self, event: Any) -> None:
        if get_ident() == self.thread:  # others may compile
            raise NotCompiledError(str(event.data["dispatcher"]))

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Raise NotCompiledError where Numba would begin to compile.

    Examples
    --------
    >>> import numba
    >>> with nothing_compiled():
    ...     numba.njit(lambda x: x + 1)(1)
    Traceback (most recent call last):
        ...
    ase_continuousp.model.prompt.NotCompiledError: ...
    """
    with event.install_listener("numba:compile", _Refusal()):
        yield


def may_be_compiled() -> bool:
    """Tell whether a kernel of inference is in memory or has an entry on disk.

    Where there is none, Numba need not even be asked: that alone takes a quarter of a second.
    """
    kernel = _chains.before
    entries = Path(kernel.stats.cache_path or "").glob(f"_chains.{kernel.__name__}-*.nbi")
    return bool(kernel.signatures) or any(entries)


def settle() -> None:
    """Let this process compile at once from now on."""
    global _evaluated
    _evaluated = PLAIN_ATOMS


def prompt(energy: ModelEnergy, crystals: Crystals) -> Evaluation:
    """Return what the energy returns, in plain torch as long as that is less work than compiling.

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.model.continuous import ContinuousEnergy
    >>> energy = ModelEnergy(ContinuousEnergy(channels=16, vector_channels=16))
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> bool(abs(prompt(energy, po).energy[0] - energy(po).energy[0]) < 1e-5)
    True
    """
    global _evaluated
    if energy.dtype in _settled:
        return energy(crystals)
    if (
        _evaluated + crystals.n_atoms <= PLAIN_ATOMS
        and _distances(energy, crystals) <= MOST_DISTANCES
    ):
        try:
            if not may_be_compiled():
                raise NotCompiledError(_chains.before.__name__)
            with nothing_compiled():
                found = energy(crystals)
        except NotCompiledError:
            if _evaluated == 0:
                logger.info("kernels are not compiled yet: the first crystals go without")
            _evaluated += crystals.n_atoms
            return plain(energy, crystals)
    else:
        logger.info("kernels that are not on disk are compiled, which takes half a minute, once")
        found = energy(crystals)
    _settled.add(energy.dtype)
    return found


def plain(energy: ModelEnergy, crystals: Crystals) -> Evaluation:
    """Return what the energy returns, without a compiled kernel; slow."""
    network = copy.copy(energy.network)  # shares the weights
    network.pairs = TorchPairs()
    slow = _Plain(network, dtype=energy.dtype, device=energy.device, length=energy.length)
    return slow(crystals.wrapped())  # atoms far out of the cell would cost images without end


class _Plain(AutogradEnergy):
    backend = "reference"


def _distances(energy: ModelEnergy, crystals: Crystals) -> float:
    """Return how many distances the plain search looks at, about."""
    lengths = crystals.lengths if energy.length is None else energy.length
    cutoffs = energy.network.cutoff_ratio * lengths
    reach = np.ceil(np.reshape(cutoffs, (-1, 1)) / heights(crystals.cells) + 1.0)
    return float((crystals.counts**2 * (2.0 * reach + 1.0).prod(axis=1)).sum())
