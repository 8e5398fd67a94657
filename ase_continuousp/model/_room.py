"""Where inference keeps its rows: one array, laid out anew when the number of atoms changes."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ase_continuousp.model._lanes import N_BYTES
from ase_continuousp.model._product import aligned

Array = NDArray[Any]

# Rows that go through a chain of passes together: about a megabyte, within usual L2 caches.
BLOCK = 128


class Kept(NamedTuple):
    """What the way back through a layer needs of the way there; s and v are what it begins with."""

    s: Array
    v: Array
    r_n: Array
    z: Array
    r_v: Array
    c: Array
    m: Array
    sums: Array
    r_w: Array
    t: Array
    h: Array
    d: Array


class Room:
    """Rows of all layers, of one size of batch.

    Names are those of `Inference`; gradients have a g in front. `kept` has one entry more than
    layers, of which only s and v are used: what the last layer makes.
    """

    def __init__(
        self, n: int, n_crystals: int, n_f: int, n_g: int, n_layers: int, dtype: Any
    ) -> None:
        n_y, n_z = 2 * n_f + n_g, 2 * (n_f + n_g)
        shapes: list[tuple[int, ...]] = []
        for k in range(n_layers + 1):
            is_last = k == n_layers - 1
            n_v = n_g if 0 < k < n_layers else 0
            n_t, n_d = (2 * n_g, n_f) if is_last else (3 * n_g, n_f + n_g)
            n_k = n if k < n_layers else 0
            shapes += [
                (n, n_f), (n, 3, n_v), (n_k,), (n_k, n_z), (n_k,), (n_k, 3, n_v), (n_k, n_f),
                (n_k, 3, n_g), (n_k, 2), (n_k, 3, n_t), (n_k, n_f), (n_k, n_d),
            ]  # fmt: skip
        shapes += [
            (n, n_y), (n, n_f), (n, n_f), (n, 3, n_g), (n, n_z), (n, n_f), (n, 3, n_g),
            (n, 3, n_g), (n_crystals, n_f), (n_crystals, n_f), (n_f,),
            (BLOCK * max(9 * n_g, n_f),), (BLOCK * max(3 * n_g, n_f + n_g),), (BLOCK, n_f),
        ]  # fmt: skip
        arrays = _laid_out(shapes, dtype)
        width = len(Kept._fields)
        self.kept = [
            Kept(*arrays[at : at + width]) for at in range(0, (n_layers + 1) * width, width)
        ]
        (
            self.x, self.gs, self.gs_new, self.gv, self.gz, self.gm, self.gsums, self.gc,
            self.means, self.shared, self.ggain, self._wide, self._narrow, self.zeros,
        ) = arrays[(n_layers + 1) * width :]  # fmt: skip
        self.zeros[:] = 0
        self.parts = [slice(at, min(at + BLOCK, n)) for at in range(0, n, BLOCK)]

    def wide(self, part: slice, width: int) -> Array:
        """Return rows for a block that nothing else uses meanwhile."""
        n = part.stop - part.start
        return self._wide[: n * width].reshape(n, width)

    def narrow(self, part: slice, width: int) -> Array:
        """Return other rows for a block."""
        n = part.stop - part.start
        return self._narrow[: n * width].reshape(n, width)


class Rooms:
    """The last room of each thread, some 40 kB per atom; new memory would cost a tenth of the time."""

    def __init__(self, n_f: int, n_g: int, n_layers: int, dtype: Any) -> None:
        self._arguments = n_f, n_g, n_layers, dtype
        self._last = threading.local()

    def room(self, n_atoms: int, n_crystals: int) -> Room:
        """Return room for a batch; its contents are undefined."""
        key, room = getattr(self._last, "entry", None) or (None, None)
        if room is None or key != (n_atoms, n_crystals):
            self._last.entry = room = None  # before the next one is made
            room = Room(n_atoms, n_crystals, *self._arguments)
            self._last.entry = (n_atoms, n_crystals), room
        return room

    def __reduce__(self) -> Any:
        return Rooms, self._arguments


def _laid_out(shapes: list[tuple[int, ...]], dtype: Any) -> list[Array]:
    """Return arrays of these shapes, each on whole lanes, in one block of memory."""
    n_lanes = N_BYTES // dtype(0).itemsize
    sizes = [math.prod(shape) for shape in shapes]
    block = aligned(sum(size + -size % n_lanes for size in sizes), dtype)
    made, at = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        made.append(block[at : at + size].reshape(shape))
        at += size + -size % n_lanes
    return made
