"""A crystal relaxed with any calculator, its cell as well."""

from __future__ import annotations

import logging
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

logger = logging.getLogger(__name__)

_LARGEST_CHANGE = 3.0  # of the volume, either way; beyond, nothing of the crystal is left


class CannotCompute(ValueError):
    """A calculator does not know an element, or lacks a quantity."""


def relax_with(
    atoms: Atoms, calculator: Any, *, fmax: float = 0.05, max_steps: int = 300
) -> tuple[Atoms, bool] | None:
    """Return a crystal relaxed with its cell, and whether it converged; None if it fell apart.

    It fell apart if its volume changed threefold or the calculator failed on the way.

    Parameters
    ----------
    atoms : Atoms
        Not changed.
    calculator : ASE calculator
    fmax : float [eV/Å]
    max_steps : int

    Returns
    -------
    (Atoms, bool) or None
        The crystal keeps energy, forces and stress, and not the calculator.

    Raises
    ------
    CannotCompute
        If the calculator refuses the crystal.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> copper, converged = relax_with(bulk("Cu", a=3.7), EMT())
    >>> converged, round(float(copper.cell.lengths()[0]) * 2**0.5, 2)
    (True, 3.59)
    """
    moved = atoms.copy()
    moved.calc = calculator
    try:
        run = LBFGS(cast(Any, FrechetCellFilter(moved)), logfile=cast(Any, None))
        converged = bool(run.run(fmax=fmax, steps=max_steps))
        energy = float(moved.get_potential_energy())
        forces, stress = moved.get_forces(), moved.get_stress()
    except (NotImplementedError, KeyError) as error:  # how calculators refuse elements
        raise CannotCompute(str(error)) from error
    except (ValueError, ArithmeticError, RuntimeError, IndexError) as error:
        logger.info("%s lost %s: %s", calculator.name, atoms.get_chemical_formula(), error)
        return None
    change = abs(np.log(moved.get_volume() / atoms.get_volume()))
    if not np.isfinite(energy) or not change < np.log(_LARGEST_CHANGE):
        return None
    kept = SinglePointCalculator(
        moved, energy=energy, free_energy=energy, forces=forces, stress=stress
    )
    kept.name = calculator.name
    moved.calc = kept
    return moved, converged
