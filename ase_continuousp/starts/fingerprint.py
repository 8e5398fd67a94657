"""Distances between the sites of a crystal as a vector that tells prototypes apart.

With labels of the atoms A, B, ... and x = d/ℓ, ℓ = (V/N)^(1/3),

    f_AB(k) = (1/N) Σ_{i in A, j in B} w(x_ij) exp(-(x_ij - x_k)² / 2σ²),
    w(x) = (1 - (x/X)²)² / x.

It is the same for every description of the crystal, every supercell and every volume, and changes
continuously with the structure. Exchanging labels exchanges its rows and columns, so that one
fingerprint serves all assignments of elements to the sites of a prototype.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import search

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

REACH = 2.6  # X above, in units of ℓ: three to four shells
WIDTH = 0.08  # σ above
GRID = np.arange(0.4, REACH, 0.1)
_SHORTEST = 0.2  # coincident atoms count as this far apart
_BATCH_PAIRS = 200_000


def fingerprints(crystals: Crystals, labels: ArrayLike, n_labels: int) -> Floats:
    """Return the fingerprint of each crystal.

    Parameters
    ----------
    crystals : Crystals
    labels : (n_atoms,) array of int
        Kind of each atom, from 0 to ``n_labels - 1``.
    n_labels : int

    Returns
    -------
    (n_crystals, n_labels, n_labels, n_grid) array

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> one = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> two = Crystals.single([[0, 0, 0], [0, 0, 4]], np.diag([4, 4, 8]), [84, 84])
    >>> a, b = fingerprints(one, [0], 1), fingerprints(two, [0, 0], 1)
    >>> bool(np.allclose(a, b))
    True
    """
    labels = np.asarray(labels, dtype=np.int64)
    made = np.zeros((crystals.n_crystals, n_labels * n_labels, len(GRID)))
    step = max(1, int(_BATCH_PAIRS / (4.2 * REACH**3 * max(1.0, crystals.counts.mean()))))
    for start in range(0, crystals.n_crystals, step):
        chosen = np.arange(start, min(start + step, crystals.n_crystals))
        atoms = slice(crystals.offsets[chosen[0]], crystals.offsets[chosen[-1] + 1])
        made[chosen] = _batch(crystals.select(chosen), labels[atoms], n_labels)
    return made.reshape(-1, n_labels, n_labels, len(GRID))


def _batch(crystals: Crystals, labels: Integers, n_labels: int) -> Floats:
    pairs = search(crystals, REACH * crystals.lengths)
    owner = crystals.crystal_index[pairs.i]
    shift = np.einsum("px,pxy->py", pairs.S.astype(np.float64), crystals.cells[owner])
    vectors = crystals.positions[pairs.j] - crystals.positions[pairs.i] + shift
    x = np.linalg.norm(vectors, axis=1) / crystals.lengths[owner]
    x = np.maximum(x, _SHORTEST)
    weight = (1.0 - np.minimum(x / REACH, 1.0) ** 2) ** 2 / x / crystals.counts[owner]
    kind = (owner * n_labels + labels[pairs.i]) * n_labels + labels[pairs.j]
    size = crystals.n_crystals * n_labels * n_labels
    columns = [
        np.bincount(kind, weight * np.exp(-0.5 * ((x - c) / WIDTH) ** 2), minlength=size)
        for c in GRID
    ]
    stacked: Floats = np.stack(columns, axis=1)
    return stacked.reshape(crystals.n_crystals, n_labels**2, len(GRID))


def relabelings(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Return all permutations of labels that exchange only labels of equal count.

    Parameters
    ----------
    counts : sequence of int
        Atoms of each label.

    Returns
    -------
    list of tuples p, label k taking the place of label p[k]; the identity comes first

    Examples
    --------
    >>> relabelings([1, 1, 3])
    [(0, 1, 2), (1, 0, 2)]
    """
    blocks: dict[int, list[int]] = {}
    for label, count in enumerate(counts):
        blocks.setdefault(count, []).append(label)
    made = []
    for choice in itertools.product(*(itertools.permutations(b) for b in blocks.values())):
        order = [0] * len(counts)
        for block, permuted in zip(blocks.values(), choice, strict=True):
            for label, new in zip(block, permuted, strict=True):
                order[label] = new
        made.append(tuple(order))
    return made
