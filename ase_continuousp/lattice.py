"""Lattice algebra on batches of cells: rows of a cell are the lattice vectors, as in ASE."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def volume(cells: ArrayLike) -> Floats:
    """Return the unsigned volume |det L| of each cell.

    Parameters
    ----------
    cells : (..., 3, 3) array [Å]

    Returns
    -------
    (...) array [Å³]

    Examples
    --------
    >>> import numpy as np
    >>> float(volume(2.0 * np.eye(3)))
    8.0
    """
    # Written out: numpy's determinant pivots, so that its last digits depend on the order of the
    # rows, and its cross product is slow for few cells.
    x0, y0, z0, x1, y1, z1, x2, y2, z2 = (
        np.asarray(cells, dtype=np.float64).reshape(*np.shape(cells)[:-2], 9).T
    )
    minors = y1 * z2 - y2 * z1, y2 * z0 - y0 * z2, y0 * z1 - y1 * z0
    volumes: Floats = np.abs(x0 * minors[0] + x1 * minors[1] + x2 * minors[2]).T
    return volumes


def heights(cells: ArrayLike) -> Floats:
    """Return the distances between opposite faces, V / |L_j × L_k|.

    A sphere of radius R around a point of the cell meets at most ``ceil(R / height)`` images of
    the cell along that direction.

    Parameters
    ----------
    cells : (..., 3, 3) array [Å]

    Returns
    -------
    (..., 3) array [Å]

    Examples
    --------
    >>> import numpy as np
    >>> heights(np.diag([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    cells = np.asarray(cells, dtype=np.float64)
    normals = np.cross(np.roll(cells, -1, axis=-2), np.roll(cells, -2, axis=-2))
    distances: Floats = volume(cells)[..., None] / np.linalg.norm(normals, axis=-1)
    return distances


def to_fractional(positions: ArrayLike, cells: ArrayLike) -> Floats:
    """Return fractional coordinates f with r = f L.

    Parameters
    ----------
    positions : (..., 3) array [Å]
    cells : (..., 3, 3) array [Å]
        One cell per position, or one for all.

    Returns
    -------
    (..., 3) array

    Examples
    --------
    >>> import numpy as np
    >>> to_fractional([1.0, 1.0, 1.0], 2.0 * np.eye(3)).tolist()
    [0.5, 0.5, 0.5]
    """
    inverse = np.linalg.inv(np.asarray(cells, dtype=np.float64))
    fractional: Floats = np.einsum(
        "...x,...xy->...y", np.asarray(positions, dtype=np.float64), inverse
    )
    return fractional


def to_cartesian(fractional: ArrayLike, cells: ArrayLike) -> Floats:
    """Return Cartesian positions r = f L.

    Parameters
    ----------
    fractional : (..., 3) array
    cells : (..., 3, 3) array [Å]
        One cell per position, or one for all.

    Returns
    -------
    (..., 3) array [Å]

    Examples
    --------
    >>> import numpy as np
    >>> to_cartesian([0.5, 0.0, 0.0], 2.0 * np.eye(3)).tolist()
    [1.0, 0.0, 0.0]
    """
    fractional = np.asarray(fractional, dtype=np.float64)
    positions: Floats = np.einsum(
        "...x,...xy->...y", fractional, np.asarray(cells, dtype=np.float64)
    )
    return positions


def symmetric_exponential(strain: ArrayLike) -> Floats:
    """Return exp(ε) of symmetric matrices by their eigenvectors.

    Parameters
    ----------
    strain : (..., 3, 3) array
        Symmetric.

    Returns
    -------
    (..., 3, 3) array, symmetric and positive definite

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.allclose(symmetric_exponential(np.zeros((3, 3))), np.eye(3)))
    True
    """
    values, vectors = np.linalg.eigh(np.asarray(strain, dtype=np.float64))
    exponential: Floats = np.einsum("...ij,...j,...kj->...ik", vectors, np.exp(values), vectors)
    return exponential
