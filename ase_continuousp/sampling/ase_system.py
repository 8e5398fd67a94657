"""One ASE Atoms or Filter, with any calculator, as an energy function of one crystal."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import Filter

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.sampling.constraints import coordinates_of, filter_coordinates
from ase_continuousp.sampling.coordinates import REFERENCE_LENGTH, Coordinates
from ase_continuousp.sampling.displacement import Displacement, Floats


class AseSystem:
    """Atoms as a batch of one crystal, and their calculator as its energy function.

    Calling it moves the atoms and evaluates them. Without `move_cell` the cell is never looked
    at, so that molecules, clusters and slabs are as good as crystals. A filter is taken as it
    is: its rows of generalized positions are the "atoms" of the crystal.

    Parameters
    ----------
    atoms : ase.Atoms or ase.filters.Filter
    move_cell : bool
        Not used with a filter, which decides for itself what moves.
    pressure : float [energy/Å³]
        Adds pressure times volume to the energy.
    coordinates : Coordinates, optional
        Instead of those that the constraints and `move_cell` ask for.
    keep_history : bool
        By default the calculator is reset before every evaluation: neighbor lists with a skin
        and densities of former steps would make energies depend, in their last digits, on the
        path, and a resumed run would leave the straight one.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", a=3.7)
    >>> atoms.calc = EMT()
    >>> system = AseSystem(atoms, move_cell=True)
    >>> bool(system(system.crystals()).stress[0, 0, 0] > 0.0)
    True
    """

    def __init__(
        self,
        atoms: Atoms | Filter,
        *,
        move_cell: bool,
        pressure: float = 0.0,
        coordinates: Coordinates | None = None,
        keep_history: bool = False,
    ) -> None:
        if not hasattr(atoms, "__ase_optimizable__"):
            raise TypeError(f"atoms must be ase.Atoms or a filter of them: {type(atoms).__name__}")
        self.optimizable = atoms.__ase_optimizable__()  # type: ignore[no-untyped-call]
        self.atoms: Atoms = next(iter(self.optimizable.iterimages()))
        if len(self.atoms) == 0:
            raise ValueError("atoms must not be empty: 0 atoms")
        self.is_filter = not isinstance(atoms, Atoms)
        self.moves_cell = move_cell and not self.is_filter
        self.pressure = pressure
        self.keep_history = keep_history
        # In which convergence is judged.
        self._natural: Coordinates
        if not isinstance(atoms, Atoms):
            self._natural = filter_coordinates(atoms, self.optimizable.ndofs() // 3)
        else:
            self._check_cell()
            self._natural = coordinates_of(atoms, move_cell=move_cell)
        self.coordinates = self._natural if coordinates is None else coordinates
        self.results: dict[str, Any] = {}
        # A seeded run is the same whether or not the kernels of our own energy are compiled yet.
        settle = getattr(self.atoms.calc, "settle", None)
        if settle is not None:
            settle()

    @property
    def calculator(self) -> str | None:
        """Name of the calculator with, if it says so, the hash of its weights; None without one."""
        calculator: Any = self.atoms.calc
        if calculator is None:
            return None
        name = getattr(calculator, "name", None) or type(calculator).__name__
        return f"{name} {getattr(calculator, 'model_hash', '')}".strip()

    def crystals(self) -> Crystals:
        """Return where the atoms are now, as a batch of one."""
        x = np.array(self.optimizable.get_x(), dtype=np.float64).reshape(-1, 3)
        numbers = np.zeros(len(x), dtype=np.int64) if self.is_filter else self.atoms.numbers
        return Crystals(
            positions=x,
            cells=self.atoms.cell.array[None].astype(np.float64),
            numbers=np.array(numbers, dtype=np.int64),
            offsets=np.array([0, len(x)], dtype=np.int64),
        )

    def place(self, crystals: Crystals) -> None:
        """Move the atoms to the crystal."""
        if self.is_filter:
            self.optimizable.set_x(crystals.positions.ravel())
            return
        if self.moves_cell:
            self.atoms.set_cell(crystals.cells[0], apply_constraint=False)
        self.atoms.set_positions(crystals.positions, apply_constraint=False)

    def __call__(self, crystals: Crystals) -> Evaluation:
        """Move the atoms to the crystal and return energy, forces and stress there."""
        self.place(crystals)
        atoms = self.atoms
        if isinstance(atoms.calc, Calculator) and not self.keep_history:
            atoms.calc.reset()
        forces = np.array(atoms.get_forces(apply_constraint=False), dtype=np.float64)
        self.results = {"energy": float(atoms.get_potential_energy()), "forces": forces}
        stress = np.zeros((3, 3))
        if self.moves_cell:
            stress = self._stress()
            self.results["stress"] = stress.ravel()[[0, 4, 8, 5, 2, 1]]
        if self.is_filter:
            forces = -self.optimizable.get_gradient().reshape(-1, 3)
            energy = float(self.optimizable.get_value())
        else:
            energy = float(self.optimizable.get_value())
            if self.pressure != 0.0:
                energy += self.pressure * float(crystals.volumes[0])
                stress = stress + self.pressure * np.eye(3)
        self.results["free_energy"] = float(self.optimizable.get_value())
        n = crystals.n_atoms
        return Evaluation(np.array([energy]), np.full(n, energy / n), forces, stress[None])

    def cached(self) -> tuple[Atoms, dict[str, Any]] | None:
        """Return what the calculator remembers, to be put back after a refused step."""
        calc = self.atoms.calc
        if not isinstance(calc, Calculator) or calc.atoms is None:
            return None
        return calc.atoms.copy(), {k: np.copy(v)[()] for k, v in calc.results.items()}

    def put_back(self, crystals: Crystals, cache: tuple[Atoms, dict[str, Any]] | None) -> None:
        """Move the atoms back, with the results of that place still known to the calculator."""
        self.place(crystals)
        calc = self.atoms.calc
        if cache is not None and isinstance(calc, Calculator) and not self.keep_history:
            calc.atoms, calc.results = cache[0].copy(), dict(cache[1])

    def slope_rows(self, crystals: Crystals, evaluation: Evaluation) -> Floats:
        """Return the gradient by which convergence is judged, (n_atoms [+ 3], 3).

        Minus the projected forces and, if the cell moves, V σ / N, as in ASE's UnitCellFilter.
        """
        slope: Displacement = self._natural.slope(crystals, evaluation)
        if not self.moves_cell:
            return slope.atoms
        # The displacement of the cell is √N λ times the strain: undo that, divide by N.
        virial = slope.cells[0] * (np.sqrt(crystals.n_atoms) * REFERENCE_LENGTH)
        return np.concatenate([slope.atoms, virial / crystals.n_atoms])

    def volume_per_atom(self) -> float | None:
        """Return the volume per atom [Å³], or None where the cell does not move."""
        if not (self.is_filter or self.moves_cell) or self.atoms.cell.rank < 3:
            return None
        return float(self.atoms.get_volume()) / len(self.atoms)

    def place_now(self) -> tuple[Floats, Floats]:
        """Return copies of the positions and the cell of the atoms."""
        return self.atoms.positions.copy(), self.atoms.cell.array.copy()

    def snapshot(
        self, results: dict[str, Any], place: tuple[Floats, Floats] | None = None
    ) -> Atoms:
        """Return a copy of the atoms, here or at another place, that carries these results."""
        image: Atoms = self.atoms.copy()
        if place is not None:
            image.set_cell(place[1], apply_constraint=False)
            image.set_positions(place[0], apply_constraint=False)
        calc = SinglePointCalculator(image, **results)
        calc.name = getattr(self.atoms.calc, "name", None) or "unknown"
        image.calc = calc
        return image

    def _stress(self) -> Floats:
        try:
            stress = self.atoms.get_stress(voigt=False, apply_constraint=False)
        except (PropertyNotImplementedError, NotImplementedError) as error:
            raise ValueError(
                f"move_cell=True needs a calculator with stress: {self.atoms.calc!r} has none; "
                "pass move_cell=False"
            ) from error
        return np.array(stress, dtype=np.float64)

    def _check_cell(self) -> None:
        if self.moves_cell and not (self.atoms.pbc.all() and self.atoms.cell.rank == 3):
            raise ValueError(
                "move_cell=True needs a crystal, periodic in three directions: pbc is "
                f"{self.atoms.pbc.tolist()}, cell of rank {self.atoms.cell.rank}; "
                "pass move_cell=False to sample the positions alone"
            )
        if self.pressure != 0.0 and not self.moves_cell:
            raise ValueError(
                f"pressure acts on a cell that moves: pressure={self.pressure} without move_cell"
                " (a filter has its own, scalar_pressure)"
            )
