"""How cells of a given number of atoms are shaped: a mixture of classes fitted to known crystals.

The shape of a cell is the logarithm of the metric L Lᵀ of its Niggli-reduced vectors at unit
volume: six numbers that know nothing of orientation or of the choice of basis, in which averages
of shapes are shapes. The classes of each number of atoms are the tight ones (cubic, hexagonal,
close-packed, …: many crystals within a small ball) and, for the crystals that are left, clusters
by k-means. A class is the average of its members with their standard deviation; no single crystal
is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import spglib
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from ase_continuousp.crystals import Crystals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_BALL = 0.05  # radius of a tight class: a strain of about 0.02
_FEWEST = 3  # members of a class
_FEWEST_OF_PATTERN = 10  # crystals of one stoichiometry that get weights of their own
_PER_CLUSTER = 12  # crystals that share a k-means class, on average
_MOST_CLUSTERS = 24  # of each kind, for each number of atoms
_ROOT2 = np.sqrt(2.0)


@dataclass(frozen=True)
class ShapeModel:
    """A mixture of classes of cell shapes for each number of atoms.

    Parameters
    ----------
    centers, spreads : (n_classes, 6) arrays
        Mean and standard deviation of the log-metric of the members: diagonal, then √2 times
        the elements yz, xz, xy.
    counts : (n_classes,) array of int
        Members of each class.
    n_atoms : (n_classes,) array of int
        Atoms in the cells of the class.
    patterns : dict
        For a stoichiometry such as ``"1-1-3"`` (sorted counts of the cell), the classes that it
        takes and how often, as pairs. Stoichiometries seen rarely are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> cube = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> shapes = ShapeModel.fit(Crystals.concatenate([cube] * 5))
    >>> cells = shapes.sample([84], 2, np.random.default_rng(0))
    >>> bool(np.allclose(cells, np.eye(3)))
    True
    """

    centers: Floats
    spreads: Floats
    counts: Integers
    n_atoms: Integers
    patterns: Mapping[str, Sequence[tuple[int, int]]]

    @classmethod
    def fit(cls, crystals: Crystals, *, seed: int = 0) -> ShapeModel:
        """Return the classes of the crystals' shapes, for each number of atoms.

        Cost: about 0.1 ms a crystal.

        Parameters
        ----------
        crystals : Crystals
            The training set. Numbers of atoms with fewer than three crystals are passed over.
        seed : int
            Of the k-means clustering.
        """
        rng = np.random.default_rng(seed)
        shapes = log_metrics(crystals.cells)
        keys = [pattern_of(z) for z in np.split(crystals.numbers, crystals.offsets[1:-1])]
        centers: list[Floats] = []
        spreads: list[Floats] = []
        counts: list[int] = []
        n_atoms: list[int] = []
        pairs: dict[str, Counter[int]] = {}
        for n in np.unique(crystals.counts):
            rows = np.flatnonzero(crystals.counts == n)
            for members in _classes(shapes[rows], rng):
                centers.append(shapes[rows[members]].mean(axis=0))
                spreads.append(shapes[rows[members]].std(axis=0))
                for row in rows[members]:
                    pairs.setdefault(keys[row], Counter())[len(counts)] += 1
                counts.append(len(members))
                n_atoms.append(int(n))
        if not counts:  # a training set of one or two crystals says nothing of shapes
            centers, spreads = [np.zeros(6)], [np.full(6, 0.1)]
            counts, n_atoms = [1], [int(crystals.counts[0])]
        patterns = {
            key: sorted(found.items())
            for key, found in pairs.items()
            if found.total() >= _FEWEST_OF_PATTERN
        }
        return cls(
            np.array(centers), np.array(spreads), np.array(counts), np.array(n_atoms), patterns
        )

    def sample(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> Floats:
        """Return random cells of unit volume for atoms of these elements.

        A class is drawn by how often the stoichiometry takes it, mixed with how often any cell
        of as many atoms does; then a shape from the normal law of the class. If that number of
        atoms was not seen, the nearest one stands in.

        Parameters
        ----------
        numbers : (n_atoms,) array of int
        n : int
        rng : numpy.random.Generator

        Returns
        -------
        (n, 3, 3) array
            First vector along x, second in the xy plane; volume 1.
        """
        numbers = np.asarray(numbers)
        distance = np.abs(np.log(self.n_atoms / len(numbers)))
        classes = np.flatnonzero(distance <= distance.min() + 1e-9)
        weights = np.zeros(len(self.counts))
        weights[classes] = self.counts[classes] / self.counts[classes].sum()
        own = self.patterns.get(pattern_of(numbers))
        if own is not None:
            weights *= _FEWEST_OF_PATTERN
            for index, count in own:
                weights[index] += count
        weights /= weights.sum()
        chosen = rng.choice(len(weights), size=n, p=weights)
        shapes = self.centers[chosen] + self.spreads[chosen] * rng.normal(size=(n, 6))
        return cells_of(shapes)


def log_metrics(cells: ArrayLike) -> Floats:
    """Return the shapes of cells: six independent elements of log(L Lᵀ / V^(2/3)).

    Parameters
    ----------
    cells : (n, 3, 3) array [Å]
        In any basis; they are Niggli-reduced first.

    Returns
    -------
    (n, 6) array
        Diagonal, then √2 times yz, xz, xy, so that Euclidean distance is the Frobenius norm.
    """
    reduced = np.stack([_niggli(cell) for cell in np.asarray(cells, dtype=np.float64)])
    metrics = reduced @ np.swapaxes(reduced, -1, -2)
    metrics /= np.cbrt(np.linalg.det(metrics))[:, None, None]
    values, vectors = np.linalg.eigh(metrics)
    logs = np.einsum("nij,nj,nkj->nik", vectors, np.log(values), vectors)
    return np.concatenate(
        [np.diagonal(logs, axis1=1, axis2=2), _ROOT2 * logs[:, [1, 0, 0], [2, 2, 1]]], axis=1
    )


def cells_of(shapes: ArrayLike) -> Floats:
    """Return lower triangular cells of unit volume with the given shapes.

    Parameters
    ----------
    shapes : (n, 6) array
        As from :func:`log_metrics`.

    Returns
    -------
    (n, 3, 3) array
    """
    shapes = np.asarray(shapes, dtype=np.float64)
    logs = np.zeros((len(shapes), 3, 3))
    trace = shapes[:, :3].mean(axis=1, keepdims=True)  # noise must not change the volume
    logs[:, [0, 1, 2], [0, 1, 2]] = shapes[:, :3] - trace
    logs[:, [1, 0, 0], [2, 2, 1]] = logs[:, [2, 2, 1], [1, 0, 0]] = shapes[:, 3:] / _ROOT2
    values, vectors = np.linalg.eigh(logs)
    metrics = np.einsum("nij,nj,nkj->nik", vectors, np.exp(values), vectors)
    return np.linalg.cholesky(metrics)


def _niggli(cell: Floats) -> Floats:
    """Return the Niggli-reduced vectors, or the cell itself where the reduction fails.

    spglib's, because it takes numbers as equal within 1e-5 Å: cells from files are rounded, and
    equal shapes must not be told apart by a last digit.
    """
    reduced = spglib.niggli_reduce(cell)
    return cell if reduced is None else np.asarray(reduced)


def pattern_of(numbers: ArrayLike) -> str:
    """Return the sorted counts of the elements of a cell, as "1-1-3"."""
    counts = np.unique(np.asarray(numbers), return_counts=True)[1]
    return "-".join(str(c) for c in sorted(counts.tolist()))


def _classes(shapes: Floats, rng: np.random.Generator) -> list[Integers]:
    """Return the members of each class of these shapes; the last few shapes may be left out."""
    n = len(shapes)
    if n < _FEWEST:
        return []
    free = np.ones(n, dtype=bool)
    found: list[Integers] = []
    enough = max(_FEWEST, n // 200)
    while len(found) < _MOST_CLUSTERS and free.sum() >= enough:
        left = np.flatnonzero(free)
        degree = cKDTree(shapes[left]).query_ball_point(shapes[left], _BALL, return_length=True)
        if degree.max() < enough:
            break
        gap = np.linalg.norm(shapes[left] - shapes[left[degree.argmax()]], axis=1)
        found.append(left[gap <= _BALL])
        free[found[-1]] = False
    rest = np.flatnonzero(free)
    if len(rest) < _FEWEST:
        return found
    k = int(np.clip(len(rest) // _PER_CLUSTER, 1, _MOST_CLUSTERS))
    centers, labels = kmeans2(shapes[rest], k, minit="++", seed=rng, missing="warn")
    sizes = np.bincount(labels, minlength=k)
    kept = np.flatnonzero(sizes >= _FEWEST)
    if len(kept) == 0:
        return [*found, rest]
    gap = np.linalg.norm(shapes[rest][:, None] - centers[kept][None], axis=-1)
    labels = kept[gap.argmin(axis=1)]  # members of dropped clusters join the nearest kept one
    return found + [rest[labels == c] for c in kept if np.sum(labels == c) >= _FEWEST]
