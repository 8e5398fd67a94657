"""What samplers and calculators know of an energy: crystals in, energies and derivatives out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Energies and first derivatives of a batch of crystals.

    Forces are −∂E/∂r, stress is (1/V) ∂E/∂ε for a symmetric strain ε of cell and positions
    (positive under tension, as in ASE).

    Parameters
    ----------
    energy : (n_crystals,) array
        Energy of each cell.
    energies : (n_atoms,) array
        Terms per atom; they sum to `energy`.
    forces : (n_atoms, 3) array [1/Å times the energy unit]
    stress : (n_crystals, 3, 3) array [1/Å³ times the energy unit]
        Symmetric.
    """

    energy: Floats
    energies: Floats
    forces: Floats
    stress: Floats

    @property
    def is_finite(self) -> NDArray[np.bool_]:
        """Whether energy and stress of each crystal are finite, (n_crystals,)."""
        finite: NDArray[np.bool_] = np.isfinite(self.energy) & np.all(
            np.isfinite(self.stress), axis=(1, 2)
        )
        return finite

    def where(self, mask: ArrayLike, other: Evaluation, crystal_index: ArrayLike) -> Evaluation:
        """Return these values for crystals where the mask is true and those of `other` elsewhere.

        Parameters
        ----------
        mask : (n_crystals,) array of bool
        other : Evaluation
            Of as many crystals and atoms.
        crystal_index : (n_atoms,) array of int
            Crystal of each atom.
        """
        mask = np.asarray(mask, dtype=bool)
        atoms = mask[np.asarray(crystal_index)]
        return Evaluation(
            energy=np.where(mask, self.energy, other.energy),
            energies=np.where(atoms, self.energies, other.energies),
            forces=np.where(atoms[:, None], self.forces, other.forces),
            stress=np.where(mask[:, None, None], self.stress, other.stress),
        )


class EnergyFunction(Protocol):
    """Any energy of positions and cell that can be evaluated for a batch of crystals."""

    def __call__(self, crystals: Crystals) -> Evaluation:
        """Return energies, forces and stress of every crystal."""
        ...
