"""Noise on crystals and the direction back to the data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.lattice import symmetric_exponential
from ase_continuousp.training.batches import Streams

Floats = NDArray[np.float64]
_IMAGES = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))


@dataclass(frozen=True)
class NoiseLaw:
    """Law of the noise level s: log-normal, clipped.

    Parameters
    ----------
    median, spread : float
        log s ~ N(log median, spread²).
    lowest, highest : float
        Bounds on s.
    strain_scale : float
        c of the strain c s G/√N that goes with the level s.
    """

    median: float = 0.22
    spread: float = 0.8
    lowest: float = 0.02
    highest: float = 1.0
    strain_scale: float = 0.6

    def levels(self, n: int, rng: np.random.Generator | Streams) -> Floats:
        """Draw n noise levels."""
        levels = self.median * np.exp(self.spread * rng.standard_normal(n))
        return np.clip(levels, self.lowest, self.highest)


@dataclass(frozen=True)
class Noised:
    """Perturbed crystals and the directions in which they were perturbed.

    Parameters
    ----------
    crystals : Crystals
        After the perturbation.
    levels : (n_crystals,) array
        s of each crystal.
    displacements : (n_atoms, 3) array
        t: the expected displacement in units of s ℓ, mean over a crystal removed.
    strains : (n_crystals, 3, 3) array
        G.
    """

    crystals: Crystals
    levels: Floats
    displacements: Floats
    strains: Floats


def perturb(
    crystals: Crystals,
    levels: Floats,
    strain_scale: float,
    rng: np.random.Generator | Streams,
) -> Noised:
    """Strain the cells by exp(c s G/√N) and move atoms by s ℓ ξ.

    G is symmetric with unit variance in the Frobenius norm (diagonal 1, off-diagonal 1/2), ξ is
    a standard normal vector. The strain shrinks with the number of atoms, because in an energy
    that is extensive a cell of N atoms is N times as stiff: only so are the directions back in
    positions and cell together the gradient of one function, (r/ℓ, √N ε/c) being perturbed
    alike. Since an atom may have come from any periodic image, the
    displacement handed back is its posterior mean over images, t = Σ_n p_n (s ℓ ξ + n L)/(s ℓ)
    with p_n ∝ exp(−|s ℓ ξ + n L|²/2 s²ℓ²): minus s ℓ times the score of the wrapped normal law.

    Parameters
    ----------
    crystals : Crystals
        With compact (Niggli-reduced) cells: 27 images are summed.
    levels : (n_crystals,) array
        s > 0.
    strain_scale : float
        c.
    rng : numpy.random.Generator or Streams

    Returns
    -------
    Noised

    Examples
    --------
    >>> import numpy as np
    >>> po = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> noised = perturb(po, np.array([0.1]), 0.2, np.random.default_rng(0))
    >>> noised.displacements.tolist()  # one atom: only the cell can be wrong
    [[0.0, 0.0, 0.0]]
    """
    index = crystals.crystal_index
    raw = rng.standard_normal((crystals.n_crystals, 3, 3))
    strains = 0.5 * (raw + raw.transpose(0, 2, 1))
    diagonal = np.arange(3)
    strains[:, diagonal, diagonal] = raw[:, diagonal, diagonal]
    spread = strain_scale * levels / np.sqrt(crystals.counts)
    cells = crystals.cells @ symmetric_exponential(spread[:, None, None] * strains)
    strained = crystals.with_fractional(crystals.fractional, cells)

    widths = (levels * strained.lengths)[index, None]
    steps = widths * rng.standard_normal((crystals.n_atoms, 3))
    steps -= _crystal_means(crystals, steps)
    images = (_IMAGES @ cells)[index]  # (n_atoms, 27, 3)
    candidates = (steps[:, None, :] + images) / widths[:, :, None]
    logits = -0.5 * np.einsum("anx,anx->an", candidates, candidates)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("an,anx->ax", weights, candidates)
    expected -= _crystal_means(crystals, expected)
    moved = Crystals(strained.positions + steps, cells, crystals.numbers, crystals.offsets)
    return Noised(moved, levels, expected, strains)


def _crystal_means(crystals: Crystals, values: Floats) -> Floats:
    sums = np.add.reduceat(values, crystals.offsets[:-1], axis=0)
    means: Floats = (sums / crystals.counts[:, None])[crystals.crystal_index]
    return means
