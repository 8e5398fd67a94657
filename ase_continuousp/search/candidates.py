"""What a search returns: crystals with their energy, symmetry and warnings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import search
from ase_continuousp.search.composition import formula_unit
from ase_continuousp.search.refine import Refined

Floats = NDArray[np.float64]

CLASH_FRACTION = 0.6  # of the sum of covalent radii; 0.44 Å for two hydrogens, 1.7 for two sodiums


@dataclass(frozen=True)
class SecondOpinion:
    """What another calculator says of a candidate that it relaxed.

    Parameters
    ----------
    name : str
        Of the calculator, as it was asked for.
    energy_per_atom : float [eV]
    above : float [eV]
        Per atom, above the lowest of all candidates that it relaxed.
    converged : bool
        Whether the relaxation ended below its largest force.
    spacegroup : (str, int)
        After the relaxation.
    above_hull : float or None [eV]
        Per atom, above the convex hull of the known phases that were given.
    """

    name: str
    energy_per_atom: float
    above: float
    converged: bool
    spacegroup: tuple[str, int]
    above_hull: float | None = None

    @property
    def short_name(self) -> str:
        """The last part of an import path."""
        return self.name.rpartition(":")[2]


@dataclass(frozen=True)
class Candidate:
    """A crystal that a search proposes.

    Parameters
    ----------
    atoms : Atoms
        With energy, forces and stress of the model in a SinglePointCalculator, and the other
        values of this record in ``atoms.info``.
    energy_per_atom : float
        Of the model; dimensionless unless the model was calibrated.
    spacegroup : (str, int)
        Symbol and number at a tolerance of 0.1 Å; ("", 0) if there is none.
    n_found : int
        How many of the starts ended in this crystal.
    formula_units : int
        In the cell.
    converged : bool
        Whether the quench reached its tolerance.
    clash : bool
        Whether two atoms are closer than 0.6 times the sum of their covalent radii.
    start : str
        Kind of the start that led here.
    label : str
        What that start was made from.
    distance : float or None
        Chemical distance of that start, where there is such a thing.
    probability : float or None
        Of being the true crystal, from rankings that are calibrated.
    trace : (n_evaluations,) array
        Energy per atom along the anneal.
    raw : Atoms or None
        The crystal as it was found, where ``atoms`` is its symmetrized standard cell.
    volume_outlier : bool
        Whether the volume is farther from the expected one than that is uncertain, four times over.
    second : SecondOpinion or None
        What another calculator says, which then relaxed ``atoms``.

    Examples
    --------
    >>> from ase.build import bulk
    >>> salt = Candidate(bulk("NaCl", "rocksalt", a=5.6), -1.0, ("Fm-3m", 225), 3, 1, True, False)
    >>> salt.formula
    'NaCl'
    """

    atoms: Atoms
    energy_per_atom: float
    spacegroup: tuple[str, int]
    n_found: int
    formula_units: int
    converged: bool
    clash: bool
    start: str = ""
    label: str = ""
    distance: float | None = None
    probability: float | None = None
    trace: Floats = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    raw: Atoms | None = field(default=None, repr=False, compare=False)
    volume_outlier: bool = False
    second: SecondOpinion | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Warnings, such as "clash"."""
        named = (
            ("clash", self.clash),
            ("unconverged", not self.converged),
            ("volume outlier", self.volume_outlier),
        )
        return tuple(name for name, is_set in named if is_set)

    @property
    def formula(self) -> str:
        """Formula of the cell, metals first."""
        return str(self.atoms.get_chemical_formula("metal"))


def make_candidate(
    refined: Refined,
    *,
    n_found: int = 1,
    spacegroup: tuple[str, int] = ("", 0),
    probability: float | None = None,
    raw: Refined | None = None,
    volume_outlier: bool = False,
) -> Candidate:
    """Return the candidate of a refined crystal.

    Parameters
    ----------
    refined : Refined
    n_found : int
    spacegroup : (str, int)
    probability : float, optional
    raw : Refined, optional
        What it was before it was made symmetric.
    volume_outlier : bool
    """
    candidate = Candidate(
        atoms=atoms_of(refined),
        energy_per_atom=refined.energy_per_atom,
        spacegroup=spacegroup,
        n_found=n_found,
        formula_units=formula_unit(refined.crystals.numbers)[1],
        converged=refined.converged,
        clash=has_clash(refined.crystals),
        start=refined.start.kind,
        label=refined.start.label,
        distance=refined.start.distance,
        probability=probability,
        trace=refined.trace,
        raw=None if raw is None else atoms_of(raw),
        volume_outlier=volume_outlier,
    )
    candidate.atoms.info.update(info_of(candidate))
    return candidate


def atoms_of(refined: Refined) -> Atoms:
    """Return a refined crystal as Atoms with its energy, forces and stress."""
    [atoms] = io.to_atoms(refined.crystals)
    stress = full_3x3_to_voigt_6_stress(refined.stress)
    calc = SinglePointCalculator(
        atoms,
        energy=refined.energy,
        free_energy=refined.energy,
        forces=refined.forces,
        stress=stress,
    )
    calc.name = "continuousp"  # what a column of "ase db" shows
    atoms.calc = calc
    return atoms


def has_clash(crystal: Crystals) -> bool:
    """Return whether two atoms are closer than 0.6 times the sum of their covalent radii.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> [has_clash(io.from_atoms(bulk("Cu", a=a))) for a in (3.6, 2.0)]
    [False, True]
    """
    radii = CLASH_FRACTION * covalent_radii[crystal.numbers]
    pairs = search(crystal, 2.0 * radii.max())
    vectors = crystal.positions[pairs.j] - crystal.positions[pairs.i] + pairs.S @ crystal.cells[0]
    return bool(np.any(np.linalg.norm(vectors, axis=1) < radii[pairs.i] + radii[pairs.j]))


def write_candidates(path: str | os.PathLike[str], candidates: Sequence[Candidate]) -> None:
    """Write candidates to a CIF, extxyz, traj or ase.db file, in their order.

    Raises
    ------
    ValueError
        If there is no candidate or the ending is another.
    """
    io.write_atoms(path, [candidate.atoms for candidate in candidates])


def info_of(c: Candidate) -> dict[str, str | int | float | bool]:
    """Return the values of a candidate that files can hold beside the atoms."""
    info: dict[str, str | int | float | bool] = {
        "energy_per_atom": c.energy_per_atom,
        "spacegroup_number": c.spacegroup[1],
        "n_found": c.n_found,
        "formula_units": c.formula_units,
        "converged": c.converged,
        "clash": c.clash,
        "volume_outlier": c.volume_outlier,
    }
    texts = (("spacegroup_symbol", c.spacegroup[0]), ("start", c.start), ("start_label", c.label))
    # An empty text would make the rest of an extxyz header unreadable.
    info |= {name: text for name, text in texts if text}
    if c.distance is not None:
        info["start_distance"] = c.distance
    if c.probability is not None:
        info["probability"] = c.probability
    if c.second is not None:
        info |= {
            "second": c.second.name,
            "second_energy_per_atom": c.second.energy_per_atom,
            "second_above": c.second.above,
            "second_converged": c.second.converged,
            "second_spacegroup_number": c.second.spacegroup[1],
        }
        if c.second.above_hull is not None:
            info["above_hull"] = c.second.above_hull
    return info
