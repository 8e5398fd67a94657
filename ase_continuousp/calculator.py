"""The learned energy as an ASE calculator."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    all_changes,
    external_calculators,
    register_calculator_class,
)
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_continuousp.io import from_atoms
from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.derivatives import ModelEnergy


class ContinuouSPCalculator(Calculator):
    """Energy, forces and stress of a crystal from a learned, invariant and continuous energy.

    E = e₀ U(C), forces −∂E/∂r, stress (1/V) ∂E/∂ε (ASE's sign and Voigt order), all in one pass.
    U is a negative log-density of crystals, −log p up to a constant (ContinuouSP, Tone et al.
    2025, arXiv:2502.02026; trained by score matching): it says how plausible a structure is for
    its composition, **not** how much energy it costs. It has no unit; e₀ is ``energy_unit`` of
    the model card, 1 eV unless the model was calibrated. Compare it between structures of one
    composition only.

    The energy depends on the infinite crystal alone: it is the same per atom for a cell and its
    supercell, and continuous when atoms meet or cross cell faces. The cutoff is a multiple of
    (V/N)^(1/3), which has no meaning for surfaces and molecules, so only crystals periodic in
    all three directions are accepted.

    Parameters
    ----------
    model : str or path
        A name of :func:`ase_continuousp.list_models`, or a model folder.
    device : str
        "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1", …
    dtype : str
        "float32", or "float64" for finite differences and tight relaxations.

    Raises
    ------
    TypeError
        If the model is neither a name nor a path.
    ValueError
        On construction: unknown model, device or dtype. On evaluation: an element that the model
        was not trained on (the error lists those it knows), atoms that are not periodic in three
        directions, a cell without volume, positions that are not finite, or no atoms.

    Notes
    -----
    Copies and pickles carry the weights, so that they work where the model folder is not.
    What is written to trajectories and databases names the model and the hash of its weights.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import ContinuouSPCalculator
    >>> atoms = bulk("Cu", cubic=True)
    >>> atoms.calc = ContinuouSPCalculator("mp20")
    >>> atoms.get_forces().shape, atoms.get_stress().shape
    ((4, 3), (6,))
    """

    name = "continuousp"
    nolabel = True  # `ase run` would pass a label otherwise
    implemented_properties = [  # noqa: RUF012  # as in ASE; never mutated
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]
    default_parameters = {  # noqa: RUF012
        "model": "mp20",
        "device": "auto",
        "dtype": "float32",
    }
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(
        self,
        model: str | os.PathLike[str] = "mp20",
        *,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        self._model: TrainedModel
        self._energy: ModelEnergy
        super().__init__(model=model, device=device, dtype=dtype)  # type: ignore[no-untyped-call]

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Set parameters; a changed one forgets the results. A wrong one changes nothing.

        Raises
        ------
        CalculatorSetupError
            If there is no such parameter.
        TypeError, ValueError
            As on construction.
        """
        unknown = set(kwargs) - set(self.default_parameters)
        if unknown:
            raise CalculatorSetupError(
                f"no parameter {sorted(unknown)[0]!r}: parameters are "
                f"{sorted(self.default_parameters)}"
            )
        if "model" in kwargs:
            kwargs["model"] = _name_or_path(kwargs["model"])
        wanted = {**self.parameters, **kwargs}
        model = load_model(wanted["model"])
        energy = model.energy(device=wanted["device"], dtype=wanted["dtype"])
        changed: dict[str, Any] = super().set(**kwargs)  # type: ignore[no-untyped-call]
        self._model, self._energy = model, energy
        if changed:
            self.reset()  # type: ignore[no-untyped-call]
        return changed

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Return the parameters and the hash of the weights as JSON-ready values."""
        return {**dict(self.parameters), "model_hash": self._model.hash}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties at once; ASE asks for them one by one and finds them cached."""
        self.results = {}  # whatever fails below must not leave those of other atoms
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise ValueError("atoms must be given to a calculator that has seen none")
        crystals = from_atoms(self.atoms)
        self._check_elements(crystals.numbers)
        found = self._energy(crystals)
        unit = float(self._model.card.get("energy_unit", 1.0))
        energy = float(found.energy[0]) * unit
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": found.energies * unit,
            "forces": found.forces * unit,
            "stress": full_3x3_to_voigt_6_stress(found.stress[0]) * unit,
        }

    def _check_elements(self, numbers: NDArray[np.int64]) -> None:
        unknown = np.setdiff1d(numbers, self._model.elements)
        if len(unknown):
            supported = " ".join(chemical_symbols[z] for z in self._model.elements)
            raise ValueError(
                f"atoms: model {self._model.name!r} was not trained on "
                f"{chemical_symbols[unknown[0]]}; it supports: {supported}"
            )


def _name_or_path(model: Any) -> str:
    """Return a model name or path as text, for JSON."""
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"model must be a name or a path: got {type(model).__name__}")
    return os.fsdecode(model)


# `get_calculator_class("continuousp")` and `ase run continuousp`; a second registration would fail.
if ContinuouSPCalculator.name not in external_calculators:
    register_calculator_class(ContinuouSPCalculator.name, ContinuouSPCalculator)
