"""ASE constraints and filters as orthogonal projections of a sampler's displacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixSymmetry,
)
from ase.filters import Filter, StrainFilter, UnitCellFilter
from ase.spacegroup.symmetrize import symmetrize_rank2

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.sampling.coordinates import (
    Coordinates,
    PositionCoordinates,
    ProjectedCoordinates,
    StrainCoordinates,
)
from ase_continuousp.sampling.displacement import Displacement, Floats

# Constraints whose `adjust_forces` is the orthogonal projection on a linear space of positions.
_LINEAR = (FixAtoms, FixCartesian, FixedLine, FixedPlane, FixCom, FixSymmetry)
_WITH_CELL = (FixAtoms, FixCom, FixSymmetry)


def coordinates_of(atoms: Atoms, *, move_cell: bool) -> Coordinates:
    """Return the coordinates in which these atoms can move under their constraints.

    Parameters
    ----------
    atoms : ase.Atoms
    move_cell : bool

    Raises
    ------
    ValueError
        If a constraint is not linear, or cannot hold while the cell moves.

    Examples
    --------
    >>> from ase.build import bulk
    >>> type(coordinates_of(bulk("Cu"), move_cell=True)).__name__
    'StrainCoordinates'
    """
    constraints = list(atoms.constraints)
    _refuse_unknown(constraints, move_cell=move_cell)
    if not move_cell:
        if not constraints:
            return PositionCoordinates()
        project = _position_projection(atoms, constraints)
        return ProjectedCoordinates(
            PositionCoordinates(), lambda _, y: Displacement(project(y.atoms), y.cells)
        )
    if not constraints:
        return StrainCoordinates()
    constraint = constraints[0]
    if isinstance(constraint, FixAtoms):
        fixed = np.zeros(len(atoms), dtype=bool)
        for each in constraints:
            fixed[each.index] = True
        return StrainCoordinates(fixed=fixed)
    project = _position_projection(atoms, constraints)
    if isinstance(constraint, FixCom):
        weights = np.zeros(len(atoms))
        weights[constraint.index] = atoms.get_masses()[constraint.index]
        return ProjectedCoordinates(
            _CenteredCoordinates(StrainCoordinates(), weights / weights.sum()),
            lambda _, y: Displacement(project(y.atoms), y.cells),
        )
    rotations = constraint.rotations

    def symmetric(crystals: Crystals, y: Displacement) -> Displacement:
        cell = crystals.cells[0]
        tensor = symmetrize_rank2(cell, np.linalg.inv(cell), y.cells[0], rotations)
        return Displacement(project(y.atoms), 0.5 * (tensor + tensor.T)[None])

    return ProjectedCoordinates(StrainCoordinates(), symmetric)


def keeps_basis(atoms: Atoms) -> bool:
    """Tell whether a constraint holds only for the present choice of the cell's vectors."""
    return any(isinstance(one, FixSymmetry) for one in atoms.constraints)


def filter_coordinates(filtered: Filter, n_rows: int) -> Coordinates:
    """Return coordinates for the generalized positions of an ASE filter.

    Parameters
    ----------
    filtered : ase.filters.Filter
    n_rows : int
        Rows of its generalized positions.

    Raises
    ------
    ValueError
        If the filtered atoms carry a constraint that the filter's coordinates do not show.
    """
    constraints = list(getattr(filtered.atoms, "constraints", []))
    n_atoms = len(filtered.atoms)
    free = np.ones((n_rows, 3))
    for constraint in constraints:
        if not (isinstance(constraint, FixAtoms) and isinstance(filtered, UnitCellFilter)):
            raise ValueError(
                f"a filter takes no constraint but FixAtoms with a cell filter: "
                f"{type(constraint).__name__} on {type(filtered).__name__}; "
                "pass the Atoms themselves with move_cell instead"
            )
        free[constraint.index] = 0.0
    if isinstance(filtered, StrainFilter):
        free = free * np.asarray(filtered.mask, dtype=np.float64).reshape(2, 3)

    def project(_: Crystals, y: Displacement) -> Displacement:
        rows = free * y.atoms
        if isinstance(filtered, UnitCellFilter):
            rows[n_atoms:] = _cell_part(filtered, rows[n_atoms:])
        return Displacement(rows, y.cells)

    return ProjectedCoordinates(PositionCoordinates(), project)


@dataclass(frozen=True)
class _CenteredCoordinates:
    """Strain about a center of mass, which then stays where it is."""

    inner: StrainCoordinates
    weights: Floats

    def noise(self, crystals: Crystals, rng: np.random.Generator) -> Displacement:
        return self.inner.noise(crystals, rng)

    def slope(self, crystals: Crystals, evaluation: Evaluation) -> Displacement:
        return self.inner.slope(crystals, evaluation)

    def move(self, crystals: Crystals, displacement: Displacement) -> Crystals:
        moved = self.inner.move(crystals, displacement)
        shift = self.weights @ (crystals.positions - moved.positions)
        return replace(moved, positions=moved.positions + shift)

    def redescribe(
        self, displacement: Displacement, before: Crystals, after: Crystals
    ) -> Displacement:
        return displacement


def _refuse_unknown(constraints: Sequence[Any], *, move_cell: bool) -> None:
    for constraint in constraints:
        if not isinstance(constraint, _LINEAR):
            raise ValueError(
                f"constraint {type(constraint).__name__} cannot be kept by a projection; "
                f"supported: {', '.join(c.__name__ for c in _LINEAR)}"
            )
    if not move_cell or not constraints:
        return
    kinds = {type(c).__name__ for c in constraints}
    one_rule = all(isinstance(c, FixAtoms) for c in constraints) or len(constraints) == 1
    if not isinstance(constraints[0], _WITH_CELL) or not one_rule:
        raise ValueError(
            f"move_cell=True holds one kind of constraint among "
            f"{', '.join(c.__name__ for c in _WITH_CELL)}: {', '.join(sorted(kinds))}; "
            "pass move_cell=False"
        )


def _position_projection(atoms: Atoms, constraints: Sequence[Any]) -> Callable[[Floats], Floats]:
    """Return the orthogonal projection of vectors of the atoms on what all constraints allow."""
    # FixAtoms last: its zeros are exact, the others hold to rounding.
    ordered = sorted(constraints, key=lambda c: isinstance(c, FixAtoms))

    def project(vectors: Floats) -> Floats:
        vectors = vectors.copy()
        # Projections that do not commute are repeated until nothing changes (von Neumann).
        for _ in range(10_000):
            before = vectors.copy()
            for constraint in ordered:
                constraint.adjust_forces(atoms, vectors)
            change = np.abs(vectors - before).max()
            if len(ordered) == 1 or change <= 1e-15 * np.abs(before).max():
                break
        return vectors

    return project


def _cell_part(filtered: UnitCellFilter, cell: Floats) -> Floats:
    """Return what a cell filter allows of a change of its three cell rows.

    Antisymmetric parts are rotations, which no energy sees: without noise on them the
    deformation stays away from the branch cut of its logarithm.
    """
    mask: Floats = np.asarray(filtered.mask, dtype=np.float64)
    cell = 0.5 * (cell + cell.T) * mask
    mean: Floats = np.eye(3) * np.trace(cell) / 3.0
    if filtered.hydrostatic_strain:
        return mean
    if filtered.constant_volume:
        cell = cell - mean
    return cell
