"""Checks that any ASE calculator of crystals can be put through, ours and others.

Each takes Atoms with a calculator attached, leaves them as they were, and raises AssertionError
with the numbers if the property does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]

# One skewed supercell of three cells and one change of basis: integer matrices, rows as in ASE.
_SUPERCELL = ((1, 1, 0), (0, 1, 2), (1, 0, 1))
_BASIS = ((1, 2, 0), (0, 1, -1), (0, 0, 1))


def assert_forces(atoms: Atoms, *, rtol: float = 1e-6, eps: float = 1e-5) -> None:
    """Raise unless the forces are minus the gradient of the energy.

    The error is the norm of the difference from central differences, relative to the norm of all
    forces. Costs six evaluations an atom; in float32 no tolerance below about 1e-2 can be met.

    Parameters
    ----------
    atoms : Atoms
        Where forces do not vanish, or no relative error can be given.
    rtol : float
    eps : float [Å]
        Displacement.

    Raises
    ------
    AssertionError
        If the relative error is larger.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", cubic=True)
    >>> atoms.rattle(0.1, seed=0)
    >>> atoms.calc = EMT()
    >>> assert_forces(atoms)
    """
    atoms = _copy(atoms)
    found = atoms.get_forces(apply_constraint=False)
    expected = calculate_numerical_forces(atoms, eps=eps, force_consistent=True)
    _compare("forces", found, expected, rtol)


def assert_stress(atoms: Atoms, *, rtol: float = 1e-6, eps: float = 1e-5) -> None:
    """Raise unless the stress is (1/V) ∂E/∂ε, in ASE's sign and Voigt order.

    Parameters
    ----------
    atoms : Atoms
        Where the stress does not vanish.
    rtol : float
        Norm of the difference from central differences, relative to the norm of the stress.
    eps : float
        Strain.

    Raises
    ------
    AssertionError
        If the relative error is larger.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", a=3.7)
    >>> atoms.calc = EMT()
    >>> assert_stress(atoms)
    """
    atoms = _copy(atoms)
    found = atoms.get_stress(apply_constraint=False)
    expected = calculate_numerical_stress(atoms, eps=eps, force_consistent=True)
    _compare("stress", found, expected, rtol)


def assert_invariant(atoms: Atoms, *, rtol: float = 1e-9, seed: int = 0) -> None:
    """Raise unless the energy per atom depends on the infinite crystal alone.

    The crystal is translated, rotated, reflected, permuted, described by other images of its
    atoms, in another basis, in a left-handed one, and in a skewed supercell. Forces must turn
    with the atoms.

    Parameters
    ----------
    atoms : Atoms
        Periodic in three directions.
    rtol : float
        Of the energy per atom; for forces, of their norm, a thousand times that.
    seed : int

    Raises
    ------
    AssertionError
        Names the description that changes the energy or the forces.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", cubic=True)
    >>> atoms.rattle(0.1, seed=0)
    >>> atoms.calc = EMT()
    >>> assert_invariant(atoms)
    """
    atoms = _copy(atoms)
    energy = atoms.get_potential_energy() / len(atoms)
    forces = atoms.get_forces(apply_constraint=False)
    for name, image, expected in _descriptions(atoms, forces, np.random.default_rng(seed)):
        image.calc = atoms.calc
        change = abs(image.get_potential_energy() / len(image) - energy)
        if not change <= rtol * abs(energy):
            raise AssertionError(
                f"energy per atom {energy:.12g} changes by {change:.3g} under {name}"
            )
        _compare(f"forces under {name}", image.get_forces(), expected, 1e3 * rtol, floor=energy)


def assert_continuous(
    atoms: Atoms,
    other: Atoms,
    *,
    n_steps: Sequence[int] = (100, 1000),
    shrink: float = 0.5,
) -> list[tuple[int, float]]:
    """Raise unless the energy has no jump on the straight path between two crystals.

    Cells and positions are interpolated linearly. Of a continuous energy with bounded slope the
    largest step shrinks in proportion to the step length; a jump stays what it is.

    Parameters
    ----------
    atoms, other : Atoms
        Ends of the path, of the same elements in the same order; the first carries the
        calculator.
    n_steps : sequence of int
        Numbers of steps, increasing.
    shrink : float
        Least share of the proportional decrease that is accepted.

    Returns
    -------
    list of (int, float)
        Number of steps and largest change of the energy in one, for each.

    Raises
    ------
    AssertionError
        If the largest step does not shrink.
    ValueError
        If the elements differ.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> first, last = bulk("Cu", a=3.6), bulk("Cu", a=3.7)
    >>> first.calc = EMT()
    >>> [n for n, _ in assert_continuous(first, last, n_steps=(5, 50))]
    [5, 50]
    """
    if not np.array_equal(atoms.numbers, other.numbers):
        raise ValueError(f"other must hold the same elements in order: {other.symbols}")
    moving = _copy(atoms)
    found: list[tuple[int, float]] = []
    for n in n_steps:
        energies = []
        for t in np.linspace(0.0, 1.0, n + 1):
            moving.set_cell((1 - t) * atoms.cell.array + t * other.cell.array)
            moving.positions = (1 - t) * atoms.positions + t * other.positions
            energies.append(moving.get_potential_energy())
        found.append((n, float(np.abs(np.diff(energies)).max())))
    for (n, coarse), (m, fine) in pairwise(found):
        if not fine <= coarse * (n / m) / shrink:
            raise AssertionError(
                f"largest energy step {coarse:.3g} of {n} steps shrinks to {fine:.3g} of {m} only"
            )
    return found


def _descriptions(
    atoms: Atoms, forces: Floats, rng: np.random.Generator
) -> Iterator[tuple[str, Atoms, Floats]]:
    """Yield the crystal described otherwise, and its forces there."""
    image = atoms.copy()
    image.positions += rng.normal(scale=5.0, size=3)
    yield "translation", image, forces
    rotation = Rotation.random(random_state=rng).as_matrix()
    for name, matrix in (("rotation", rotation), ("reflection", -rotation)):
        image = atoms.copy()
        image.set_cell(atoms.cell.array @ matrix)
        image.positions = atoms.positions @ matrix
        yield name, image, forces @ matrix
    order = np.arange(len(atoms))[::-1]
    yield "permutation", atoms[order], forces[order]
    image = atoms.copy()
    image.positions += rng.integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell.array
    yield "lattice translations of atoms", image, forces
    for name, basis in (("change of basis", np.array(_BASIS)), ("left-handed basis", -np.eye(3))):
        image = atoms.copy()
        image.set_cell(basis @ atoms.cell.array)
        yield name, image, forces
    image = make_supercell(atoms, _SUPERCELL, order="cell-major")
    yield "supercell", image, np.tile(forces, (len(image) // len(atoms), 1))


def _copy(atoms: Atoms) -> Atoms:
    """Return bare atoms with the calculator and without constraints."""
    copied: Atoms = atoms.copy()
    copied.set_constraint()
    copied.calc = atoms.calc
    return copied


def _compare(
    name: str, found: Floats, expected: Floats, rtol: float, *, floor: float = 0.0
) -> None:
    error = float(np.linalg.norm(found - expected))
    scale = max(float(np.linalg.norm(expected)), abs(floor))
    if not error <= rtol * scale:
        raise AssertionError(f"{name} are off by {error:.3g} at norm {scale:.3g}: rtol is {rtol}")
