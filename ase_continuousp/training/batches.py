"""Which crystals an update sees, and its randomness: functions of seed and step alone.

Nothing here depends on the number of processes that share an update, nor on how many updates one
process has made before: an interrupted run goes on with the same batches and noise, and two
processes with half a batch each do what one does with the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals, offsets_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_ORDER, _NOISE = 0, 1  # keep the streams of different purposes apart


@dataclass(frozen=True)
class Part:
    """The share of an update that falls to one process.

    Parameters
    ----------
    step : int
    rows : (n,) int64 array
        Crystals of the data set.
    slots : (n,) int64 array
        Their places within the whole batch.
    n_crystals, n_atoms : int
        Of the whole batch: means over it are sums over the parts divided by these.
    seed : int
    """

    step: int
    rows: Integers
    slots: Integers
    n_crystals: int
    n_atoms: int
    seed: int

    def streams(self, crystals: Crystals) -> Streams:
        """Return the random numbers for these crystals."""
        seeds = [np.random.SeedSequence(self.seed, spawn_key=(_NOISE, self.step, int(slot)))
                 for slot in self.slots]  # fmt: skip
        return Streams([np.random.default_rng(seed) for seed in seeds], crystals.counts)


class Batches:
    """Epochs of a data set in random orders, cut into batches.

    A batch may begin in one epoch and end in the next.

    Parameters
    ----------
    counts : (n_crystals,) int array
        Atoms of every crystal.
    size : int
        Crystals of a batch.
    seed : int

    Raises
    ------
    ValueError
        If there is no crystal.

    Examples
    --------
    >>> batches = Batches([2, 5, 1], size=2, seed=0)
    >>> halves = [batches.part(0, k, 2).rows.tolist() for k in (0, 1)]
    >>> halves[0] + halves[1] == batches.part(0).rows.tolist()
    True
    >>> sorted(batches.part(0).rows.tolist() + batches.part(1).rows.tolist()[:1])
    [0, 1, 2]
    """

    def __init__(self, counts: ArrayLike, size: int, seed: int) -> None:
        self._counts = np.asarray(counts)
        if not len(self._counts):
            raise ValueError("data must hold at least one crystal: found none")
        self._size = size
        self._seed = seed
        self._orders: dict[int, Integers] = {}

    def part(self, step: int, index: int = 0, of: int = 1) -> Part:
        """Return one of several parts of the batch of a step.

        Raises
        ------
        ValueError
            If there are more parts than crystals in a batch.
        """
        if of > self._size:
            raise ValueError(
                f"batch_size must be at least the number of parts it is split into, {of}: "
                f"{self._size}"
            )
        rows = self.rows(step)
        slots = np.array_split(np.arange(self._size), of)[index]
        n_atoms = int(self._counts[rows].sum())
        return Part(step, rows[slots], slots, self._size, n_atoms, self._seed)

    def rows(self, step: int) -> Integers:
        """Return the crystals of the whole batch of a step."""
        n = len(self._counts)
        epoch, place = np.divmod(np.arange(step * self._size, (step + 1) * self._size), n)
        rows = np.empty(self._size, dtype=np.int64)
        for number in np.unique(epoch):
            here = epoch == number
            rows[here] = self._order(int(number))[place[here]]
        self._orders = {int(epoch[-1]): self._order(int(epoch[-1]))}
        return rows

    def _order(self, epoch: int) -> Integers:
        if epoch not in self._orders:
            seed = np.random.SeedSequence(self._seed, spawn_key=(_ORDER, epoch))
            order = np.random.default_rng(seed).permutation(len(self._counts))
            self._orders[epoch] = order.astype(np.int64)
        return self._orders[epoch]


class Streams:
    """Random numbers for a batch, drawn for every crystal from a generator of its own.

    It stands in for a numpy Generator where arrays with one row per crystal or one per atom are
    drawn, or where the generator is spawned once per crystal.

    Parameters
    ----------
    generators : sequence of numpy.random.Generator
        One for each crystal.
    counts : (n_crystals,) int array
        Atoms of each.

    Examples
    --------
    >>> def streams(seeds):
    ...     return Streams([np.random.default_rng(s) for s in seeds], np.array([2] * len(seeds)))
    >>> both, second = streams([7, 8]), streams([8])
    >>> bool(np.all(both.standard_normal((4, 3))[2:] == second.standard_normal((2, 3))))
    True
    """

    def __init__(self, generators: Sequence[np.random.Generator], counts: Integers) -> None:
        self._generators = list(generators)
        self._offsets = offsets_of(counts)

    def standard_normal(self, shape: int | tuple[int, ...]) -> Floats:
        """Draw standard normal numbers, the first axis being crystals or atoms.

        Raises
        ------
        ValueError
            If it is neither.
        """
        rows, *rest = (shape,) if isinstance(shape, int) else shape
        drawn = np.empty((rows, *rest))
        for generator, (first, last) in zip(self._generators, self._bounds(rows), strict=True):
            drawn[first:last] = generator.standard_normal((last - first, *rest))
        return drawn

    def spawn(self, n_children: int) -> list[np.random.Generator]:
        """Return a new independent generator for each crystal.

        Raises
        ------
        ValueError
            If another number is asked for.
        """
        if n_children != len(self._generators):
            raise ValueError(
                f"n_children must be one per crystal, {len(self._generators)}: {n_children}"
            )
        return [generator.spawn(1)[0] for generator in self._generators]

    def _bounds(self, rows: int) -> list[tuple[int, int]]:
        n = len(self._generators)
        edges = np.arange(n + 1) if rows == n else self._offsets
        if rows != edges[-1]:
            raise ValueError(
                f"shape must begin with the number of crystals, {n}, or of atoms, {edges[-1]}: "
                f"{rows}"
            )
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
