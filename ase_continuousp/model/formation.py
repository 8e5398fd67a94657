"""From the learned energy to formation energies: a factor, and a term of the composition alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from ase_continuousp.model.continuous import MAX_NUMBER
from ase_continuousp.model.stored import write_tensors

Floats = NDArray[np.float64]

FORMATION = "formation.safetensors"


@dataclass(frozen=True)
class FormationEnergy:
    """E_f/N = e₀ U/N + Σ_Z x_Z μ_Z + Σ_{Z<Z'} x_Z x_Z' w_ZZ', x being atomic fractions.

    The second part does not depend on where the atoms are: forces and stress are those of U times
    e₀, and crystals of one composition keep their order.

    Parameters
    ----------
    energy_unit : float [eV]
        e₀ > 0.
    offsets : (n_elements,) array [eV]
        μ, by atomic number.
    couplings : (n_elements, n_elements) array [eV]
        w, symmetric; zero for pairs that were not seen.

    Examples
    --------
    >>> zero = np.zeros((104, 104))
    >>> formation = FormationEnergy(0.5, np.arange(104) / 10, zero)
    >>> round(formation.offset_per_atom([1, 1, 8]), 3)
    0.333
    """

    energy_unit: float
    offsets: Floats
    couplings: Floats

    def offset_per_atom(self, numbers: ArrayLike) -> float:
        """Return the term of the composition [eV/atom]."""
        fractions = np.bincount(np.asarray(numbers), minlength=MAX_NUMBER + 1) / np.size(numbers)
        pairs = 0.5 * fractions @ self.couplings @ fractions
        return float(fractions @ self.offsets + pairs)

    def save(self, folder: Path) -> None:
        """Write into the folder of a model, by a rename."""
        first, second = np.nonzero(np.triu(self.couplings, 1))
        tensors = {
            "energy_unit": np.array([self.energy_unit]),
            "offsets": self.offsets.astype(np.float32),
            "pairs": np.stack([first, second], axis=1).astype(np.uint8),
            "couplings": self.couplings[first, second].astype(np.float32),
        }
        write_tensors(folder / FORMATION, {k: torch.from_numpy(v) for k, v in tensors.items()})

    @classmethod
    def load(cls, folder: Path) -> FormationEnergy:
        """Read from the folder of a model.

        Raises
        ------
        ValueError
            If the model was not calibrated, or the file is damaged.
        """
        path = folder / FORMATION
        if not path.is_file():
            raise ValueError(
                f"calibrated: the model in {folder} was not calibrated; "
                "ase-continuousp calibrate does that, given formation energies"
            )
        try:
            stored = {k: v.numpy() for k, v in load_file(path).items()}
            couplings = np.zeros((MAX_NUMBER + 1, MAX_NUMBER + 1))
            first, second = stored["pairs"].T
            couplings[first, second] = couplings[second, first] = stored["couplings"]
            return cls(float(stored["energy_unit"][0]), stored["offsets"].astype(float), couplings)
        except (SafetensorError, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"calibrated: {path} is damaged: {error}") from None
