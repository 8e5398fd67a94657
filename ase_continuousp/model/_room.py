"""Where inference keeps its rows: one array, laid out anew when the number of atoms changes."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


class Block(NamedTuple):
    """Rows of one block and layer as each pass wants them, so that no call cuts them out anew.

    Names as in `Kept`, gradients with a g in front; `_flat` ones have a row for each component of
    vectors. Some share memory: they are never needed at once.
    """

    rows: slice
    x: Array
    s: Array
    v: Array
    s_then: Array
    v_then: Array
    r_n: Array
    z: Array
    r_v: Array
    soft: Array
    soft_flat: Array
    c_flat: Array
    m: Array
    sums: Array
    w: Array
    w_flat: Array
    r_w: Array
    t: Array
    t_flat: Array
    h: Array
    y: Array
    d: Array
    gs: Array
    gs_before: Array
    gv: Array
    gv_before: Array
    gd: Array
    gh: Array
    gt: Array
    gt_flat: Array
    gw: Array
    gw_flat: Array
    gm: Array
    gsums: Array
    gz: Array
    gc_flat: Array
    gn: Array


class Room:
    """Rows of all layers, of one size of batch.

    `kept` has one entry more than layers, of which only s and v are used: what the last layer
    makes. `blocks` holds the same memory in parts, for each layer. Two arrays of gradients of s
    take turns: `gs[k]` is that before layer k.
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
            self._x, gs, gs_other, self.gv, self.gz, self.gm, self.gsums, self.gc,
            self.means, self.shared, self.ggain, self._wide, self._narrow, self.zeros,
        ) = arrays[(n_layers + 1) * width :]  # fmt: skip
        self.zeros[:] = 0
        self.gs = [(gs, gs_other)[k % 2] for k in range(n_layers + 1)]
        self.parts = [slice(at, min(at + BLOCK, n)) for at in range(0, n, BLOCK)]
        self.blocks = [[self._block(k, part) for part in self.parts] for k in range(n_layers)]

    def wide(self, part: slice, width: int) -> Array:
        """Return rows for a block that nothing else uses meanwhile."""
        n = part.stop - part.start
        return self._wide[: n * width].reshape(n, width)

    def narrow(self, part: slice, width: int) -> Array:
        """Return other rows for a block."""
        n = part.stop - part.start
        return self._narrow[: n * width].reshape(n, width)

    def _block(self, k: int, part: slice) -> Block:
        kept, then, is_last = self.kept[k], self.kept[k + 1], k == len(self.kept) - 2
        n_f, n_g = kept.s.shape[1], kept.sums.shape[2]
        t, d = kept.t[part], kept.d[part]
        v, gt = self.wide(part, 3 * n_g), self.wide(part, 3 * t.shape[2])
        gw, gv = self.narrow(part, 3 * n_g), self.gv[part]
        c, gc = (kept.c, self.gc) if k else (kept.c, kept.c)
        return Block(
            rows=part, x=self._x[part], s=kept.s[part], v=kept.v[part],
            s_then=then.s[part], v_then=then.v[part],
            r_n=kept.r_n[part], z=kept.z[part], r_v=kept.r_v[part],
            soft=_vectors(v, n_g), soft_flat=_flat(v, n_g), c_flat=_flat(c[part], n_g),
            m=kept.m[part], sums=kept.sums[part], w=_vectors(v, n_g), w_flat=_flat(v, n_g),
            r_w=kept.r_w[part], t=t, t_flat=_flat(t, t.shape[2]),
            h=kept.h[part], y=self.wide(part, n_f), d=d,
            gs=self.gs[k + 1][part], gs_before=self.gs[k][part],
            gv=then.v[part] if is_last else gv, gv_before=gv,
            gd=self.narrow(part, d.shape[1]), gh=self.gs[k][part],
            gt=gt.reshape(t.shape), gt_flat=_flat(gt, t.shape[2]),
            gw=_vectors(gw, n_g), gw_flat=_flat(gw, n_g),
            gm=self.gm[part], gsums=self.gsums[part], gz=self.gz[part],
            gc_flat=_flat(gc[part], n_g), gn=self.narrow(part, n_f),
        )  # fmt: skip


def _vectors(rows: Array, n: int) -> Array:
    return rows.reshape(-1, 3, n)


def _flat(rows: Array, n: int) -> Array:
    return rows.reshape(-1, n)


class Rooms:
    """Rooms that were used before, some 35 kB per atom: new memory costs a tenth of the time.

    There are never more of them than were in use at once, whichever threads asked.
    """

    def __init__(self, n_f: int, n_g: int, n_layers: int, dtype: Any) -> None:
        self._arguments = n_f, n_g, n_layers, dtype
        self._lock = threading.Lock()
        self._free: list[tuple[tuple[int, int], Room]] = []  # the one longest unused first

    @contextmanager
    def room(self, n_atoms: int, n_crystals: int) -> Iterator[Room]:
        """Lend room for a batch; its contents are undefined."""
        key = n_atoms, n_crystals
        room = self._take(key)
        if room is None:
            room = Room(n_atoms, n_crystals, *self._arguments)
        try:
            yield room
        finally:
            with self._lock:
                self._free.append((key, room))

    def _take(self, key: tuple[int, int]) -> Room | None:
        with self._lock:
            # The last one given back is the likeliest to be in a cache.
            for at in reversed(range(len(self._free))):
                if self._free[at][0] == key:
                    return self._free.pop(at)[1]
            if self._free:
                del self._free[0]  # before the next one is made
        return None

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
