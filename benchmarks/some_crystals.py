"""Crystals for timings, which need no data: moderately skewed and of any elements."""

from __future__ import annotations

import numpy as np

from ase_continuousp.crystals import Crystals


def random_crystals(n_crystals: int, seed: int = 0) -> Crystals:
    """Crystals of 1 to 20 atoms, 18 Å³ per atom, moderately skewed, as in MP-20."""
    rng = np.random.default_rng(seed)
    made = []
    while len(made) < n_crystals:
        n_atoms = int(rng.integers(1, 21))
        cell = np.eye(3) + 0.25 * rng.normal(size=(3, 3))
        volume = abs(np.linalg.det(cell))
        if volume < 0.3:
            continue
        cell *= (18.0 * n_atoms / volume) ** (1 / 3)
        numbers = rng.integers(1, 90, n_atoms)
        made.append(Crystals.single(rng.random((n_atoms, 3)) @ cell, cell, numbers))
    return Crystals.concatenate(made)
