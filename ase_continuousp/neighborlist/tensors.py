"""Search for crystals whose arrays are torch tensors, where these are."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.neighborlist import _cpu

# First component of S of what is no pair but fills an array, of atom 0 with itself: farther than
# any cutoff, and near enough for the third power of distances in single precision.
PADDING = 1000


class Pairs(NamedTuple):
    """The pairs of a batch as tensors, sorted by center.

    Given a capacity, `i`, `j` and `S` are that long, and what follows the pairs is padding: atom 0
    with its image `PADDING` cell vectors away, which no energy with a cutoff feels.

    Parameters
    ----------
    i, j : (n_pairs or capacity,) int64 tensors
        Center and neighbor, indices into the atoms of the whole batch.
    S : (n_pairs or capacity, 3) int32 tensor
        Cell vectors by which the neighbor is shifted.
    first : (n_atoms + 1,) int64 tensor
        The pairs of center a are ``first[a]:first[a + 1]``.
    n_pairs : int64 tensor without dimensions
        May exceed the capacity: then the last pairs are missing.
    is_valid : bool tensor without dimensions
        False if positions, cells or cutoffs allow no search; there are no pairs then.
    """

    i: Tensor
    j: Tensor
    S: Tensor
    first: Tensor
    n_pairs: Tensor
    is_valid: Tensor


def search_tensors(
    positions: Tensor,
    cells: Tensor,
    offsets: Tensor,
    cutoffs: Tensor,
    *,
    half: bool = False,
    capacity: int | None = None,
) -> Pairs:
    """Return all pairs closer than the cutoff of their crystal; meaning as in `search`.

    On a CUDA device everything stays there. Without a capacity, the host waits once, for the
    number of pairs; with one, never, and the shapes of the results do not depend on the values.
    The part on CUDA devices was tested on Numba's simulator and never on a real one.

    Parameters
    ----------
    positions : (n_atoms, 3) float64 tensor [Å]
    cells : (n_crystals, 3, 3) float64 tensor [Å]
    offsets : (n_crystals + 1,) int64 tensor
        First atom of each crystal, ending with ``n_atoms``.
    cutoffs : (n_crystals,) float64 tensor [Å]
    half : bool
        Return each pair once, as `search` does.
    capacity : int, optional
        Length of the arrays of pairs.

    Returns
    -------
    Pairs

    Raises
    ------
    ValueError
        If positions, cells or cutoffs allow no search; with a capacity only on the CPU.

    Examples
    --------
    >>> import torch
    >>> one = torch.zeros(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[None]
    >>> found = search_tensors(*one, torch.tensor([0, 1]), torch.tensor([1.1]), capacity=8)
    >>> int(found.n_pairs), found.S[:, 0].tolist()[6:]
    (6, [1000, 1000])
    """
    if positions.is_cuda:
        there: Any = import_module(
            "ase_continuousp.neighborlist._cuda"
        )  # needs Numba's part for it
        on_device: Pairs = there.search_tensors(positions, cells, offsets, cutoffs, half, capacity)
        return on_device
    i, j, shifts, first = _cpu.search_batch(
        positions.detach().double().contiguous().numpy(),
        cells.detach().double().contiguous().numpy(),
        offsets.long().contiguous().numpy(),
        cutoffs.detach().double().contiguous().numpy(),
        half,
    )
    n_pairs = len(i)
    if capacity is not None:
        missing = max(0, capacity - n_pairs)
        i, j = (np.pad(x[:capacity], (0, missing)) for x in (i, j))
        shifts = np.pad(shifts[:capacity], ((0, missing), (0, 0)))
        shifts[n_pairs:, 0] = PADDING
    return Pairs(
        torch.from_numpy(i), torch.from_numpy(j), torch.from_numpy(shifts),
        torch.from_numpy(first), torch.tensor(n_pairs), torch.tensor(True),
    )  # fmt: skip
