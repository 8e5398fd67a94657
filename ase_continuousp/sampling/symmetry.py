"""Sampling within a space group: orthogonal projection of steps on what the symmetry allows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from scipy.sparse import csr_matrix

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation
from ase_continuousp.sampling.displacement import Displacement, Floats


@dataclass(frozen=True)
class SymmetryProjection:
    """The symmetry of each crystal of a batch, as a projection of displacements.

    A symmetry operation maps atom i onto p(i) and turns vectors by R; the projections are the
    means over the group of y_p(i) = y_i R for atoms and of Rᵀ ε R for a strain. With
    `ase_continuousp.sampling.coordinates.ProjectedCoordinates` a crystal stays in its space group
    exactly, cell and positions, and the acceptance ratio is that of the constrained step.

    A strain that is left by the mean commutes with every R, and p does not change on the way:
    these projections hold for all that a chain can become, in any description of its cell. The
    order of crystals must stay (chains may be exchanged where both began alike).

    Parameters
    ----------
    atoms : (3 n_atoms, 3 n_atoms) sparse matrix
        Acts on flat displacements of atoms.
    cells : (n_crystals, 9, 9) array
        Acts on flat strains.
    n_operations : (n_crystals,) array of int
        Of the group of each crystal, centerings of its cell included.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.sampling.coordinates import ProjectedCoordinates, StrainCoordinates
    >>> cubic = Crystals.single([[0.0, 0.0, 0.0]], 3.0 * np.eye(3), [84])
    >>> projection = SymmetryProjection.of(cubic)
    >>> within = ProjectedCoordinates(StrainCoordinates(), projection)
    >>> noise = within.noise(cubic, np.random.default_rng(0))
    >>> int(projection.n_operations[0]), bool(np.ptp(np.diag(noise.cells[0])) < 1e-12)
    (48, True)
    """

    atoms: Any
    cells: Floats
    n_operations: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, crystals: Crystals, symprec: float = 1e-3) -> SymmetryProjection:
        """Return the projection on the symmetry that the crystals have.

        Parameters
        ----------
        crystals : Crystals
        symprec : float [Å]
            How far atoms may be from where symmetry wants them. What deviates stays so: begin
            with crystals that are symmetric to rounding, as PyXtal makes them.
        """
        rows, columns, values, cells, n_operations = [], [], [], [], []
        for b, one in enumerate(crystals):
            rotations, permutations = _operations(one, symprec)
            n = len(rotations)
            n_operations.append(n)
            # ε → Rᵀ ε R on flat matrices.
            cell = np.einsum("gki,glj->ijkl", rotations, rotations).reshape(9, 9) / n
            cells.append(cell)
            first = int(crystals.offsets[b])
            source = np.broadcast_to(np.arange(one.n_atoms), permutations.shape)
            axis = np.arange(3)
            # Entry (3 p(i) + y, 3 i + x) gets R_xy / n.
            shape = (*permutations.shape, 3, 3)
            row = 3 * (permutations + first)[..., None, None] + axis
            column = 3 * (source + first)[..., None, None] + axis[:, None]
            rows.append(np.broadcast_to(row, shape).ravel())
            columns.append(np.broadcast_to(column, shape).ravel())
            values.append(np.broadcast_to(rotations[:, None] / n, shape).ravel())
        size = 3 * crystals.n_atoms
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        # Entries of one place add up in the conversion.
        return cls(csr_matrix(entries, shape=(size, size)), np.array(cells), np.array(n_operations))

    def __call__(self, crystals: Crystals, displacement: Displacement) -> Displacement:
        """Return the projected displacement."""
        return Displacement(self._of_atoms(displacement.atoms), self._of_cells(displacement.cells))

    def symmetric(self, energy: EnergyFunction) -> EnergyFunction:
        """Return the energy with forces and stress projected.

        For symmetric crystals they are so but for rounding, which would grow along a descent in
        single precision.
        """

        def projected(crystals: Crystals) -> Evaluation:
            found = energy(crystals)
            return Evaluation(
                found.energy,
                found.energies,
                self._of_atoms(found.forces),
                self._of_cells(found.stress),
            )

        return projected

    def _of_atoms(self, vectors: Floats) -> Floats:
        projected: Floats = (self.atoms @ vectors.ravel()).reshape(-1, 3)
        return projected

    def _of_cells(self, strains: Floats) -> Floats:
        projected = np.einsum("bij,bj->bi", self.cells, strains.reshape(-1, 9)).reshape(-1, 3, 3)
        symmetric: Floats = 0.5 * (projected + np.swapaxes(projected, 1, 2))
        return symmetric


def _operations(
    crystal: Crystals, symprec: float
) -> tuple[Floats, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the rotations, (n, 3, 3), that act on rows from the right, and where atoms go."""
    cell, fractional = crystal.cells[0], crystal.fractional
    described = (cell.tolist(), fractional.tolist(), crystal.numbers.tolist())
    identity = np.eye(3)[None], np.arange(crystal.n_atoms)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = spglib.get_symmetry_dataset(described, symprec=symprec)
        except Exception:  # spglib's errors have no common base across its versions
            return identity
    if found is None:
        return identity
    # f → W f + w for a column; rows r = f L turn by L⁻¹ Wᵀ L.
    turned = np.swapaxes(np.asarray(found.rotations, dtype=np.float64), 1, 2)
    rotations = np.linalg.inv(cell) @ turned @ cell
    # The nearest orthogonal matrices: the cell is symmetric to a tolerance only.
    u, _, v = np.linalg.svd(rotations)
    images = np.einsum("ax,gxy->gay", fractional, turned) + np.asarray(found.translations)[:, None]
    apart = images[:, :, None] - fractional[None, None]
    apart -= np.rint(apart)
    distances = np.linalg.norm(apart @ cell, axis=-1)
    distances[:, crystal.numbers[:, None] != crystal.numbers] = np.inf
    return u @ v, np.argmin(distances, axis=2)
