"""Coordinates in which a sampler moves: what a Gaussian step is, and what measure it keeps.

Each class maps a crystal x and a displacement y to a new crystal x′ so that −y leads back from
x′ to x, and so that (x, y) → (x′, −y) keeps the product of the measure named in the class and
the Lebesgue measure of y. A Metropolis step with these two properties needs no Jacobian: it
samples exp(−E/T) with respect to that measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ase_continuousp import lattice
from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.sampling.displacement import Displacement, Floats

# ℓ at the density ρ₀ = 0.05 Å⁻³ about which crystals lie (arXiv 2502.02026): the length that
# turns a strain into Å when no other is given.
REFERENCE_LENGTH = 0.05 ** (-1.0 / 3.0)


class Coordinates(Protocol):
    """What `ase_continuousp.sampling.langevin` needs to know of its coordinates."""

    def noise(self, crystals: Crystals, rng: np.random.Generator) -> Displacement:
        """Return a standard normal vector of the space of displacements."""
        ...

    def slope(self, crystals: Crystals, evaluation: Evaluation) -> Displacement:
        """Return the derivative of the energy along displacements, at displacement zero."""
        ...

    def move(self, crystals: Crystals, displacement: Displacement) -> Crystals:
        """Return the displaced crystals."""
        ...

    def redescribe(
        self, displacement: Displacement, before: Crystals, after: Crystals
    ) -> Displacement:
        """Return a displacement of `before` as one of `after`, another description of it."""
        ...


@dataclass(frozen=True)
class PositionCoordinates:
    """Cartesian positions in a fixed cell: r′ = r + y, measure dr.

    Examples
    --------
    >>> import numpy as np
    >>> crystals = Crystals.single([[0.0, 0.0, 0.0]], 3.0 * np.eye(3), [29])
    >>> step = Displacement(np.full((1, 3), 0.1), np.zeros((1, 3, 3)))
    >>> PositionCoordinates().move(crystals, step).positions.tolist()
    [[0.1, 0.1, 0.1]]
    """

    def noise(self, crystals: Crystals, rng: np.random.Generator) -> Displacement:
        """Return independent standard normal numbers for all positions."""
        return Displacement(
            rng.standard_normal((crystals.n_atoms, 3)), np.zeros((crystals.n_crystals, 3, 3))
        )

    def slope(self, crystals: Crystals, evaluation: Evaluation) -> Displacement:
        """Return minus the forces."""
        return Displacement(-evaluation.forces, np.zeros((crystals.n_crystals, 3, 3)))

    def move(self, crystals: Crystals, displacement: Displacement) -> Crystals:
        """Return the crystals with displaced atoms."""
        return replace(crystals, positions=crystals.positions + displacement.atoms)

    def redescribe(
        self, displacement: Displacement, before: Crystals, after: Crystals
    ) -> Displacement:
        """Return the displacement: Cartesian vectors know nothing of the lattice."""
        return displacement


@dataclass(frozen=True)
class StrainCoordinates:
    """Positions and a symmetric strain of the cell, the same law for every description.

    With y = (δ, η) and ε = η / (√N λ)::

        L′ = L exp(ε),    r′ = (r exp(ε/2) + δ) exp(ε/2)

    An atom that is not displaced keeps its fractional coordinates. The displacement acts half way
    through the strain, so that −y leads back exactly. The strain takes a cell from the right, so
    the step does not depend on the basis chosen for the lattice nor on the images chosen for the
    atoms, and Niggli reduction between steps changes nothing.

    The measure is the invariant one, dL / V³ (the Haar measure of the group of matrices, both
    left- and right-invariant) times df of the fractional coordinates. It is the measure for which
    exp(−E/T) with the fitted score is stationary, and differs from the paper's dL dr
    (`FlatCoordinates`) by the factor V^(N+3), a pressure of −(N+3) T/V: without it a hot crystal
    does not boil.

    =====  ============================================  =========================
    ε      strain, symmetric                              ``displacement.cells / (√N λ)``
    δ      displacement of an atom [Å]                    ``displacement.atoms``
    λ      length of a unit strain for N = 1 [Å]          ``length``
    N      atoms of the cell                              ``crystals.counts``
    =====  ============================================  =========================

    The factor √N makes the curvature along a strain that of an atom's position, whatever the
    size of the cell.

    Parameters
    ----------
    length : float
        λ [Å].
    fixed : (n_atoms,) array of bool, optional
        Atoms whose Cartesian positions stay while the cell moves.

    Examples
    --------
    >>> import numpy as np
    >>> crystals = Crystals.single([[1.0, 1.0, 1.0]], 2.0 * np.eye(3), [84])
    >>> step = Displacement(np.zeros((1, 3)), 0.1 * np.eye(3)[None])
    >>> moved = StrainCoordinates(length=1.0).move(crystals, step)
    >>> np.round(moved.fractional, 12).tolist(), round(float(np.log(moved.volumes[0] / 8)), 12)
    ([[0.5, 0.5, 0.5]], 0.3)
    """

    length: float = REFERENCE_LENGTH
    fixed: np.ndarray | None = None

    def noise(self, crystals: Crystals, rng: np.random.Generator) -> Displacement:
        """Return standard normal positions and a standard normal symmetric matrix."""
        atoms = rng.standard_normal((crystals.n_atoms, 3))
        general = rng.standard_normal((crystals.n_crystals, 3, 3))
        # Off-diagonal variance ½ makes the density exp(−|G|²/2) in the Frobenius norm: isotropic.
        cells = 0.5 * (general + np.swapaxes(general, 1, 2))
        return Displacement(self._freed(atoms), cells)

    def slope(self, crystals: Crystals, evaluation: Evaluation) -> Displacement:
        """Return minus the forces, and V σ / (√N λ)."""
        virial = crystals.volumes[:, None, None] * evaluation.stress
        if self.fixed is not None:
            # Atoms that do not follow the strain take their part of the virial with them.
            pinned = np.where(self.fixed[:, None], evaluation.forces, 0.0)
            products = crystals.positions[:, :, None] * pinned[:, None, :]
            part = np.add.reduceat(products, crystals.offsets[:-1])
            virial = virial + 0.5 * (part + np.swapaxes(part, 1, 2))
        return Displacement(self._freed(-evaluation.forces), virial / self._scale(crystals))

    def move(self, crystals: Crystals, displacement: Displacement) -> Crystals:
        """Return the strained and displaced crystals."""
        half = lattice.symmetric_exponential(0.5 * displacement.cells / self._scale(crystals))
        half_a = half[crystals.crystal_index]
        middle = np.einsum("ax,axy->ay", crystals.positions, half_a) + displacement.atoms
        positions = np.einsum("ax,axy->ay", middle, half_a)
        if self.fixed is not None:
            positions[self.fixed] = crystals.positions[self.fixed]
        return replace(crystals, positions=positions, cells=crystals.cells @ half @ half)

    def redescribe(
        self, displacement: Displacement, before: Crystals, after: Crystals
    ) -> Displacement:
        """Return the displacement: it acts from the right and knows nothing of the basis."""
        return displacement

    def _scale(self, crystals: Crystals) -> Floats:
        return (np.sqrt(crystals.counts) * self.length)[:, None, None]

    def _freed(self, atoms: Floats) -> Floats:
        return atoms if self.fixed is None else np.where(self.fixed[:, None], 0.0, atoms)


@dataclass(frozen=True)
class FlatCoordinates:
    """The paper's x = (L, r): all entries of the cell and all positions, measure dL dr.

    L′ = L + y_L at fixed Cartesian positions, r′ = r + y_r. The derivative along L at fixed r is
    ∂E/∂L = L⁻ᵀ (V σ + Σ rᵢ ⊗ Fᵢ).

    A Gaussian step in these coordinates depends on the description of the crystal. A change of
    description g = (M, S), L → M L and r → r + S M L, is linear with determinant ±1; after a
    proposal that was reduced, the way back is that of the start in the new description, which
    `redescribe` gives: the acceptance ratio stays exact with a reduction in every step.

    Examples
    --------
    >>> import numpy as np
    >>> crystals = Crystals.single([[1.0, 1.0, 1.0]], 2.0 * np.eye(3), [84])
    >>> step = Displacement(np.zeros((1, 3)), 0.1 * np.ones((1, 3, 3)))
    >>> FlatCoordinates().move(crystals, step).positions.tolist()
    [[1.0, 1.0, 1.0]]
    """

    def noise(self, crystals: Crystals, rng: np.random.Generator) -> Displacement:
        """Return independent standard normal numbers for all entries."""
        atoms = rng.standard_normal((crystals.n_atoms, 3))
        return Displacement(atoms, rng.standard_normal((crystals.n_crystals, 3, 3)))

    def slope(self, crystals: Crystals, evaluation: Evaluation) -> Displacement:
        """Return minus the forces, and ∂E/∂L at fixed positions."""
        products = crystals.positions[:, :, None] * evaluation.forces[:, None, :]
        virial = crystals.volumes[:, None, None] * evaluation.stress
        virial = virial + np.add.reduceat(products, crystals.offsets[:-1])
        inverse = np.linalg.inv(crystals.cells)
        return Displacement(-evaluation.forces, np.swapaxes(inverse, 1, 2) @ virial)

    def move(self, crystals: Crystals, displacement: Displacement) -> Crystals:
        """Return the crystals with displaced atoms and cell entries."""
        return replace(
            crystals,
            positions=crystals.positions + displacement.atoms,
            cells=crystals.cells + displacement.cells,
        )

    def redescribe(
        self, displacement: Displacement, before: Crystals, after: Crystals
    ) -> Displacement:
        """Return the displacement after the change of basis and of images."""
        basis = np.rint(after.cells @ np.linalg.inv(before.cells))
        cells = basis @ displacement.cells
        images = np.rint(
            lattice.to_fractional(
                after.positions - before.positions, after.cells[after.crystal_index]
            )
        )
        shift = np.einsum("ax,axy->ay", images, cells[after.crystal_index])
        return Displacement(displacement.atoms + shift, cells)


@dataclass(frozen=True)
class ProjectedCoordinates:
    """Coordinates restricted to a linear subspace, for constraints.

    Noise and slope are projected orthogonally, so the step is the Gaussian step of the subspace
    and its acceptance ratio holds there without change.

    Parameters
    ----------
    inner : Coordinates
    project : callable
        Orthogonal projection of a displacement of the given crystals.

    Examples
    --------
    >>> import numpy as np
    >>> def plane(crystals, y):
    ...     return Displacement(y.atoms * [1.0, 1.0, 0.0], y.cells)
    >>> crystals = Crystals.single([[0.0, 0.0, 0.0]], np.eye(3), [1])
    >>> flat = ProjectedCoordinates(PositionCoordinates(), plane)
    >>> float(flat.noise(crystals, np.random.default_rng(0)).atoms[0, 2])
    0.0
    """

    inner: Coordinates
    project: Callable[[Crystals, Displacement], Displacement]

    def noise(self, crystals: Crystals, rng: np.random.Generator) -> Displacement:
        """Return the projected noise, standard normal in the subspace."""
        return self.project(crystals, self.inner.noise(crystals, rng))

    def slope(self, crystals: Crystals, evaluation: Evaluation) -> Displacement:
        """Return the projected slope."""
        return self.project(crystals, self.inner.slope(crystals, evaluation))

    def move(self, crystals: Crystals, displacement: Displacement) -> Crystals:
        """Return the displaced crystals."""
        return self.inner.move(crystals, displacement)

    def redescribe(
        self, displacement: Displacement, before: Crystals, after: Crystals
    ) -> Displacement:
        """Return the displacement in another description."""
        return self.inner.redescribe(displacement, before, after)
