"""Random crystals and changes of their description, for sampler tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ase_continuousp import lattice
from ase_continuousp.crystals import Crystals

BASIS = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 1.0]])


def random_crystals(rng: np.random.Generator, n_crystals: int = 4, n_atoms: int = 3) -> Crystals:
    """Return skewed cells of 20 Å³ per atom with atoms anywhere."""
    cells = 3.0 * np.eye(3) + 0.5 * rng.standard_normal((n_crystals, 3, 3))
    cells *= np.cbrt(20.0 * n_atoms / lattice.volume(cells))[:, None, None]
    fractional = rng.random((n_crystals * n_atoms, 3))
    crystals = Crystals(
        positions=np.zeros((n_crystals * n_atoms, 3)),
        cells=cells,
        numbers=np.full(n_crystals * n_atoms, 29),
        offsets=n_atoms * np.arange(n_crystals + 1),
    )
    return crystals.with_fractional(fractional)


def other_description(
    basis: np.ndarray, images: np.ndarray
) -> tuple[Callable[[Crystals], Crystals], Callable[[Crystals], Crystals]]:
    """Return a change of description L → M L, r → r + S M L, and its inverse."""

    def there(crystals: Crystals) -> Crystals:
        cells = basis @ crystals.cells
        shift = np.einsum("ax,axy->ay", images, cells[crystals.crystal_index])
        return replace(crystals, positions=crystals.positions + shift, cells=cells)

    def back(crystals: Crystals) -> Crystals:
        shift = np.einsum("ax,axy->ay", images, crystals.cells[crystals.crystal_index])
        cells = np.rint(np.linalg.inv(basis)) @ crystals.cells
        return replace(crystals, positions=crystals.positions - shift, cells=cells)

    return there, back
