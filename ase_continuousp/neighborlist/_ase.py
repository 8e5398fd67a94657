"""A neighbor list with the quantities, cutoffs and meaning of ``ase.neighborlist``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.neighborlist._backends import choose

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def neighbor_list(
    quantities: str,
    atoms: Atoms,
    cutoff: float | Mapping[tuple[Any, Any], float] | ArrayLike,
    *,
    backend: str = "auto",
) -> NDArray[Any] | tuple[NDArray[Any], ...]:
    """Return neighbor quantities as ``ase.neighborlist.neighbor_list`` does.

    Any combination of periodic directions is allowed; directions without periodic boundary need
    no cell vector. The order of the pairs of one center is not defined, as in ASE.

    Parameters
    ----------
    quantities : str
        Letters, in the order wanted: "i" center, "j" neighbor, "d" distance [Å], "D" vector
        r_j - r_i + S L [Å], "S" cell vectors by which the neighbor is shifted.
    atoms : Atoms
    cutoff : float, dict or sequence [Å]
        One cutoff for all pairs; or one per pair of elements, ``{("H", "C"): 1.2, (6, 8): 1.4}``,
        other pairs being no neighbors; or one radius per atom, whose spheres must overlap.
    backend : {"auto", "reference", "cpu", "cuda"}
        "auto" is "cpu". "cuda" copies to a CUDA device and back (`tensors` searches where the
        arrays are); it was tested on Numba's simulator and never on a real device.

    Returns
    -------
    array, or tuple of arrays if more than one quantity is asked for
        "i" and "j" are (n_pairs,) int64, ascending in "i"; "S" (n_pairs, 3) int64; "d" (n_pairs,)
        and "D" (n_pairs, 3) float64.

    Raises
    ------
    ValueError
        If a quantity or backend is unknown, a cutoff is negative or not finite, the number of
        radii is wrong, or a periodic direction has no cell vector independent of the others.

    Examples
    --------
    >>> from ase.build import bulk
    >>> i, d = neighbor_list("id", bulk("Cu", a=3.6), 2.6)
    >>> len(i), round(float(d[0]), 4)
    (12, 2.5456)
    """
    if not quantities or not set(quantities) <= set("ijdDS"):
        raise ValueError(f"quantities must be letters of 'ijdDS': {quantities!r}")
    run = choose(backend)
    numbers = atoms.numbers
    radii, longest = read_cutoff(cutoff, len(atoms))
    positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    if not np.all(np.isfinite(positions)):
        raise ValueError(f"positions must be finite: found {positions[~np.isfinite(positions)][0]}")
    cell = periodic_cell(positions, atoms.cell.array, atoms.pbc, longest)
    offsets = np.array([0, len(positions)], dtype=np.int64)
    i, j, shifts, _ = run(positions, cell[None], offsets, np.array([longest]), False)
    shifts = shifts.astype(np.int64)
    vectors = positions[j] - positions[i] + shifts @ atoms.cell.array
    distances = np.sqrt(np.sum(vectors * vectors, axis=1))
    if isinstance(cutoff, Mapping):
        kept = distances < pair_cutoffs(cutoff, numbers[i], numbers[j])
    elif radii is not None:
        kept = distances < radii[i] + radii[j]
    else:
        kept = None
    found = {"i": i, "j": j, "d": distances, "D": vectors, "S": shifts}
    chosen = tuple(found[q] if kept is None else found[q][kept] for q in quantities)
    return chosen[0] if len(chosen) == 1 else chosen


def closed(atoms: Atoms, cutoff: float) -> Atoms:
    """Return a copy that is periodic in all directions, images along the added ones out of reach.

    Parameters
    ----------
    atoms : Atoms
        Periodic in any directions. What is periodic already keeps its cell vector.
    cutoff : float [Å]

    Raises
    ------
    ValueError
        If a periodic direction has no cell vector independent of the others.

    Examples
    --------
    >>> from ase.build import molecule
    >>> water = closed(molecule("H2O"), 4.0)
    >>> bool(water.pbc.all()), len(neighbor_list("i", water, 4.0))
    (True, 6)
    """
    made: Atoms = atoms.copy()
    if not np.all(atoms.pbc) and np.all(np.isfinite(atoms.cell.array)):
        made.set_cell(periodic_cell(atoms.positions, atoms.cell.array, atoms.pbc, cutoff))
        made.pbc = True
    return made


def read_cutoff(cutoff: Any, n_atoms: int) -> tuple[Floats | None, float]:
    """Return the radii of the atoms, if given as such, and the longest cutoff of any pair."""
    values = list(cutoff.values()) if isinstance(cutoff, Mapping) else cutoff
    array = np.asarray(values, dtype=np.float64)
    valid = np.isfinite(array) & (array >= 0.0)
    if not np.all(valid):
        raise ValueError(f"cutoff must be finite and not negative: {array[~valid].flat[0]}")
    if array.ndim == 0 or isinstance(cutoff, Mapping):
        return None, float(array.max(initial=0.0))
    if array.shape != (n_atoms,):
        raise ValueError(
            f"cutoff must hold one radius per atom: {n_atoms} atoms, radii of shape {array.shape}"
        )
    return array, 2.0 * float(array.max(initial=0.0))


def pair_cutoffs(
    cutoff: Mapping[tuple[Any, Any], float], first: Integers, second: Integers
) -> Floats:
    """Return the cutoff of each pair of atomic numbers; later entries of the mapping win."""
    result = np.zeros(len(first))
    for (one, other), value in cutoff.items():
        a, b = atomic_numbers.get(one, one), atomic_numbers.get(other, other)
        result[((first == a) & (second == b)) | ((first == b) & (second == a))] = value
    return result


def periodic_cell(positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> Floats:
    """Return a cell that repeats the atoms in periodic directions only.

    A direction without periodic boundary gets a vector at right angles to the periodic ones, so
    long that no image comes within the cutoff: shifts along it are then always zero.
    """
    made = np.where(pbc[:, None], cell, 0.0)
    lengths = np.linalg.norm(made, axis=1)
    # Orthonormal directions: the periodic ones span the rows of q that belong to them.
    scale = np.where(pbc, lengths, 1.0)
    directions = made[pbc] / np.where(lengths[pbc] > 0.0, lengths[pbc], 1.0)[:, None]
    _, singular, axes = np.linalg.svd(directions.reshape(-1, 3), full_matrices=True)
    if np.any(scale == 0.0) or np.any(singular < 1e-9):
        raise ValueError(
            "cell must have an independent vector along each periodic direction: "
            f"pbc {pbc.tolist()}, cell {cell.tolist()}"
        )
    free = axes[len(singular) :]
    extent = np.ptp(positions @ free.T, axis=0) if len(positions) else np.zeros(len(free))
    made[~pbc] = free * (1.01 * (extent + cutoff) + 1.0)[:, None]
    return made
