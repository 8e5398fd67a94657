"""Products of rows with fixed matrices in Numba, from lanes (see `_lanes`).

Not BLAS: the matrices are fixed, so they are laid out once in the order in which they are read; a
row of the result is summed in the same order whatever stands beside it, so that the energy of a
crystal does not depend on its batch to the last digit; and no threads are started.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]
from numba import njit
from numpy.typing import NDArray

from ase_continuousp.model._lanes import N_BYTES, get, load, mad, store

# Whether there are 32 registers of 64 bytes.
_IS_WIDE = bool(binding.get_host_cpu_features().get("avx512f", False))


class Product:
    """x ↦ x Wᵀ + b, and back with W, for float rows that are whole lanes.

    `panels` and `transposed` are what `multiply` wants for the two.

    Parameters
    ----------
    weight : (n_out, n_in) array
    bias : (n_out,) array, optional
    is_wide : bool
        Go eight rows and two panels at once.
    """

    def __init__(
        self, weight: NDArray[Any], bias: NDArray[Any] | None = None, *, is_wide: bool = _IS_WIDE
    ) -> None:
        n_out, n_in = weight.shape
        zero = np.zeros(max(n_in, n_out), weight.dtype)
        self.panels = _fixed(weight.T, zero[:n_out] if bias is None else bias, is_wide)
        self.transposed = _fixed(weight, zero[:n_in], is_wide)

    def there(self, x: NDArray[Any], y: NDArray[Any], begin: int = 0) -> None:
        """Write to y the products of the numbers of each row of x from `begin` on."""
        w, b, paired = self.panels
        multiply(x, begin, w.size // max(y.shape[1], 1), w, b, y, paired)

    def back(self, g: NDArray[Any], made: NDArray[Any]) -> None:
        """Write the gradient of x, given that of y."""
        w, b, paired = self.transposed
        multiply(g, 0, g.shape[1], w, b, made, paired)


def _fixed(
    matrix: NDArray[Any], bias: NDArray[Any], is_wide: bool
) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Return panels, bias and the columns that go in pairs."""
    added = aligned(len(bias), bias.dtype)
    added[:] = bias
    pair = 2 * N_BYTES // matrix.itemsize
    return panels(matrix), added, matrix.shape[1] // pair * pair if is_wide else 0


def panels(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix (n_in, n_out) as columns of lanes, one after the other, flat."""
    n_in, n_out = matrix.shape
    n_lanes = N_BYTES // matrix.itemsize
    made = aligned(matrix.size, matrix.dtype)
    made[:] = matrix.reshape(n_in, n_out // n_lanes, n_lanes).swapaxes(0, 1).ravel()
    return made


def aligned(size: int, dtype: Any) -> NDArray[Any]:
    """Return an uninitialized array that begins at a multiple of 64 bytes."""
    room = np.empty(size + N_BYTES // np.dtype(dtype).itemsize, dtype)
    at = -room.ctypes.data % N_BYTES // room.itemsize
    return room[at : at + size]


@njit(cache=True, nogil=True)
def multiply(x: Any, begin: Any, n_in: Any, w: Any, b: Any, y: Any, paired: Any) -> None:
    """Write y = x w + b for rows of x, read from `begin` on; w is made of panels.

    The first `paired` columns go two panels and eight rows at once, which fills 32 registers of
    64 bytes, the others one panel and six rows, for 16 registers of 32 bytes. Rows beyond the
    last one repeat it.
    """
    n_rows, n_out = y.shape
    n_x, last, step = x.shape[1], n_rows - 1, N_BYTES // y.itemsize
    panel = n_in * step
    for row in range(0, n_rows if paired else 0, 8):
        r1, r2, r3 = min(row + 1, last), min(row + 2, last), min(row + 3, last)
        r4, r5, r6, r7 = (
            min(row + 4, last),
            min(row + 5, last),
            min(row + 6, last),
            min(row + 7, last),
        )
        x0, x1, x2, x3 = row * n_x + begin, r1 * n_x + begin, r2 * n_x + begin, r3 * n_x + begin
        x4, x5, x6, x7 = r4 * n_x + begin, r5 * n_x + begin, r6 * n_x + begin, r7 * n_x + begin
        for out in range(0, paired, 2 * step):
            a0, b0 = load(b, out), load(b, out + step)
            a1, a2, a3, a4, a5, a6, a7 = a0, a0, a0, a0, a0, a0, a0
            b1, b2, b3, b4, b5, b6, b7 = b0, b0, b0, b0, b0, b0, b0
            at = out * n_in
            for k in range(n_in):
                left, right = load(w, at), load(w, at + panel)
                at += step
                v = get(x, x0 + k)
                a0, b0 = mad(v, left, a0), mad(v, right, b0)
                v = get(x, x1 + k)
                a1, b1 = mad(v, left, a1), mad(v, right, b1)
                v = get(x, x2 + k)
                a2, b2 = mad(v, left, a2), mad(v, right, b2)
                v = get(x, x3 + k)
                a3, b3 = mad(v, left, a3), mad(v, right, b3)
                v = get(x, x4 + k)
                a4, b4 = mad(v, left, a4), mad(v, right, b4)
                v = get(x, x5 + k)
                a5, b5 = mad(v, left, a5), mad(v, right, b5)
                v = get(x, x6 + k)
                a6, b6 = mad(v, left, a6), mad(v, right, b6)
                v = get(x, x7 + k)
                a7, b7 = mad(v, left, a7), mad(v, right, b7)
            _store_two(y, row * n_out + out, step, a0, b0)
            _store_two(y, r1 * n_out + out, step, a1, b1)
            _store_two(y, r2 * n_out + out, step, a2, b2)
            _store_two(y, r3 * n_out + out, step, a3, b3)
            _store_two(y, r4 * n_out + out, step, a4, b4)
            _store_two(y, r5 * n_out + out, step, a5, b5)
            _store_two(y, r6 * n_out + out, step, a6, b6)
            _store_two(y, r7 * n_out + out, step, a7, b7)
    for row in range(0, n_rows if paired < n_out else 0, 6):
        r1, r2, r3 = min(row + 1, last), min(row + 2, last), min(row + 3, last)
        r4, r5 = min(row + 4, last), min(row + 5, last)
        x0, x1, x2, x3 = row * n_x + begin, r1 * n_x + begin, r2 * n_x + begin, r3 * n_x + begin
        x4, x5 = r4 * n_x + begin, r5 * n_x + begin
        for out in range(paired, n_out, step):
            a0 = load(b, out)
            a1, a2, a3, a4, a5 = a0, a0, a0, a0, a0
            at = out * n_in
            for k in range(n_in):
                left = load(w, at)
                at += step
                a0, a1 = mad(get(x, x0 + k), left, a0), mad(get(x, x1 + k), left, a1)
                a2, a3 = mad(get(x, x2 + k), left, a2), mad(get(x, x3 + k), left, a3)
                a4, a5 = mad(get(x, x4 + k), left, a4), mad(get(x, x5 + k), left, a5)
            store(y, row * n_out + out, a0)
            store(y, r1 * n_out + out, a1)
            store(y, r2 * n_out + out, a2)
            store(y, r3 * n_out + out, a3)
            store(y, r4 * n_out + out, a4)
            store(y, r5 * n_out + out, a5)


@njit(cache=True, nogil=True, inline="always")
def _store_two(y: Any, at: Any, step: Any, left: Any, right: Any) -> None:
    store(y, at, left)
    store(y, at + step, right)
