"""Hypothesis strategies for crystals and for the maps under which an energy must not change."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ase_continuousp.crystals import Crystals

Array = NDArray[np.float64]

COMMON_ELEMENTS = (1, 3, 6, 8, 9, 11, 12, 13, 14, 16, 17, 20, 22, 26, 29, 38, 56)


def rngs() -> st.SearchStrategy[np.random.Generator]:
    """Draw a random generator; the failing seed is part of the printed example."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def random_atoms(
    rng: np.random.Generator,
    n_atoms: int,
    numbers: Sequence[int] = COMMON_ELEMENTS,
    min_distance: float = 0.0,
    density: float = 0.05,
) -> Atoms:
    """Return a random crystal without symmetry.

    Cells are skewed, right- or left-handed, and atoms lie partly outside them.

    Parameters
    ----------
    min_distance : float [Å]
        Between any two atoms or images. The crystal is blown up until it holds, so `density` is
        an upper bound if this is given.
    density : float [1/Å³]
    """
    shear = 0.35 * rng.normal(size=(3, 3))
    cell = (np.eye(3) + shear) @ Rotation.random(random_state=rng).as_matrix()
    while abs(np.linalg.det(cell)) < 0.2:
        cell = np.eye(3) + 0.35 * rng.normal(size=(3, 3))
    cell *= (n_atoms / density / abs(np.linalg.det(cell))) ** (1 / 3)
    if rng.random() < 0.5:
        cell = cell[[1, 0, 2]]
    atoms = Atoms(
        rng.choice(numbers, size=n_atoms),
        scaled_positions=rng.uniform(-1.5, 2.5, size=(n_atoms, 3)),
        cell=cell,
        pbc=True,
    )
    closest = smallest_distance(atoms)
    if closest < min_distance:
        for _ in range(100):  # new places first: blowing up leaves a crystal too dilute to matter
            atoms.set_scaled_positions(rng.uniform(-1.5, 2.5, size=(n_atoms, 3)))
            closest = smallest_distance(atoms)
            if closest >= min_distance:
                return atoms
        atoms.set_cell(atoms.cell * (1.001 * min_distance / closest), scale_atoms=True)
    return atoms


def smallest_distance(atoms: Atoms) -> float:
    """Return the smallest distance between two atoms or images [Å], by plain enumeration."""
    reach = np.arange(-3, 4)
    images = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), -1).reshape(-1, 3)
    scaled = atoms.get_scaled_positions(wrap=True)
    offsets = scaled[None, :, None] - scaled[:, None, None] + images
    distances = np.linalg.norm(offsets @ atoms.cell.array, axis=-1)
    same = np.eye(len(atoms), dtype=bool)[:, :, None] & np.all(images == 0, axis=1)
    return float(distances[~same].min())


@st.composite
def atoms(
    draw: st.DrawFn,
    min_atoms: int = 1,
    max_atoms: int = 12,
    numbers: Sequence[int] = COMMON_ELEMENTS,
    min_distance: float = 0.0,
    density: float = 0.05,
) -> Atoms:
    """Draw a random crystal as ASE Atoms; arguments as `random_atoms`."""
    n_atoms = draw(st.integers(min_atoms, max_atoms))
    return random_atoms(draw(rngs()), n_atoms, numbers, min_distance, density)


@st.composite
def crystals(
    draw: st.DrawFn,
    min_crystals: int = 1,
    max_crystals: int = 4,
    min_atoms: int = 1,
    max_atoms: int = 12,
    numbers: Sequence[int] = COMMON_ELEMENTS,
    min_distance: float = 0.0,
    density: float = 0.05,
) -> Crystals:
    """Draw a batch of random crystals; other arguments as `random_atoms`."""
    one = atoms(min_atoms, max_atoms, numbers, min_distance, density)
    drawn = draw(st.lists(one, min_size=min_crystals, max_size=max_crystals))
    return Crystals.concatenate(
        [Crystals.single(a.positions, a.cell.array, a.numbers) for a in drawn]
    )


@st.composite
def unimodular(draw: st.DrawFn, steps: int = 4, largest: int = 2) -> NDArray[np.int64]:
    """Draw an integer matrix of determinant ±1, a change of basis: product of shears and swaps."""
    matrix = np.eye(3, dtype=np.int64)
    for _ in range(draw(st.integers(0, steps))):
        a, b = draw(st.sampled_from([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]))
        matrix[a] += draw(st.integers(-largest, largest)) * matrix[b]
    order = draw(st.permutations(range(3)))
    return matrix[list(order)] * draw(st.sampled_from([-1, 1]))


@st.composite
def supercells(draw: st.DrawFn, largest: int = 8) -> NDArray[np.int64]:
    """Draw the integer matrix of a supercell of up to `largest` cells, in Hermite normal form."""
    a = draw(st.integers(1, largest))
    b = draw(st.integers(1, largest // a))
    c = draw(st.integers(1, largest // (a * b)))
    xy, xz = draw(st.integers(0, b - 1)), draw(st.integers(0, c - 1))
    yz = draw(st.integers(0, c - 1))
    return np.array([[a, xy, xz], [0, b, yz], [0, 0, c]], dtype=np.int64)


@st.composite
def rotations(draw: st.DrawFn, improper: bool = False) -> Array:
    """Draw a uniform rotation Q to be used as r @ Q; with `improper`, also reflections."""
    rotation = Rotation.random(random_state=draw(rngs())).as_matrix()
    return rotation * draw(st.sampled_from([-1, 1])) if improper else rotation


@st.composite
def translations(draw: st.DrawFn, largest: float = 30.0) -> Array:
    """Draw a vector with components up to `largest` [Å]."""
    component = st.floats(-largest, largest, allow_nan=False)
    return np.array([draw(component) for _ in range(3)])


@st.composite
def symmetric_strains(draw: st.DrawFn, amplitude: float = 0.1) -> Array:
    """Draw a symmetric strain with normal entries of the given size."""
    raw = draw(rngs()).normal(scale=amplitude, size=(3, 3))
    return (raw + raw.T) / 2
