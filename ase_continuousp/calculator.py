"""The learned energy as an ASE calculator."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    all_changes,
    equal,
    external_calculators,
    register_calculator_class,
)
from ase.stress import full_3x3_to_voigt_6_stress

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.io import from_atoms
from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.formation import FormationEnergy
from ase_continuousp.model.prompt import prompt, settle
from ase_continuousp.neighborlist import closed
from ase_continuousp.vacuum import has_vacuum, widest_gap


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
    ℓ = (V/N)^(1/3), which has no meaning for surfaces and molecules: open directions are refused,
    and a warning is given once if a periodic cell holds vacuum. With `length` in the place of ℓ
    both are accepted; nothing then depends on the vacuum. The models were trained on bulk
    crystals, so what they say of surfaces is an extrapolation.

    Parameters
    ----------
    model : str or path
        A name of :func:`ase_continuousp.list_models`, or a model folder.
    device : str
        "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1", …
    dtype : str
        "float32", or "float64" for finite differences and tight relaxations.
    length : float, optional [Å]
        Stands for ℓ in cutoff and energy. Give (V/N)^(1/3) of the bulk crystal: the energy of
        that crystal stays what it is, and slabs cut from it can be compared with it.
    calibrated : bool
        Give formation energies in eV: U times a factor plus a term of the composition alone,
        fitted to known ones (``calibration`` of the model card says with which error). Forces and
        stress are those of U times the factor. Their minima are where they were.

    Raises
    ------
    TypeError
        If the model is neither a name nor a path.
    ValueError
        On construction: unknown model, device or dtype. On evaluation: an element that the model
        was not trained on (the error lists those it knows), atoms that are not periodic in three
        directions (without `length`), a cell without volume, positions that are not finite, or
        no atoms.
    MemoryError
        On evaluation, if the atoms are too many.

    Warns
    -----
    UserWarning
        If a layer of more than 6.5 Å holds no atom, without `length`.

    Notes
    -----
    Copies and pickles carry the weights, so that they work where the model folder is not.
    What is written to trajectories and databases names the model and the hash of its weights.

    Until Numba has compiled the kernels and kept them on disk, once per machine, the first small
    crystals of a process are evaluated in plain torch, which differs in float32 by about 1e-6 of
    the energy; `settle` compiles instead.

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
        "length": None,
        "calibrated": False,
    }
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(
        self,
        model: str | os.PathLike[str] = "mp20",
        *,
        device: str = "auto",
        dtype: str = "float32",
        length: float | None = None,
        calibrated: bool = False,
    ) -> None:
        self._model: TrainedModel
        self._formation: FormationEnergy | None
        self._energy: ModelEnergy
        self._warned = False
        super().__init__(  # type: ignore[no-untyped-call]
            model=model, device=device, dtype=dtype, length=length, calibrated=calibrated
        )

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Set parameters; a changed one forgets the results. A wrong one changes nothing.

        Raises
        ------
        CalculatorSetupError
            If there is no such parameter.
        TypeError, ValueError
            As on construction.

        Examples
        --------
        >>> sorted(ContinuouSPCalculator("mp20").set(dtype="float64"))
        ['dtype']
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
        energy = model.energy(
            device=wanted["device"], dtype=wanted["dtype"], length=wanted["length"]
        )
        formation = FormationEnergy.load(model.path) if wanted["calibrated"] else None
        if kwargs.get("length") is not None:
            kwargs["length"] = float(kwargs["length"])  # NumPy's numbers are not all JSON
        changed: dict[str, Any] = super().set(**kwargs)  # type: ignore[no-untyped-call]
        self._model, self._energy, self._formation = model, energy, formation
        if changed:
            self.reset()  # type: ignore[no-untyped-call]
        return changed

    @property
    def model_hash(self) -> str:
        """Hash of the weights of the model."""
        return self._model.hash

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Return the parameters and the hash of the weights as JSON-ready values."""
        return {**dict(self.parameters), "model_hash": self.model_hash}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what changed since the last evaluation, as ASE does, but fast where nothing did.

        Every property that is read asks this; ASE's comparison of each array takes as long as a
        pass of the network over a small crystal.
        """
        last = self.atoms
        if last is None:
            return list(all_changes)
        compared = (
            ("cell", last.cell.array, atoms.cell.array),
            ("pbc", last.pbc, atoms.pbc),
            ("positions", last.positions, atoms.positions),
            ("numbers", last.numbers, atoms.numbers),
        )
        return [
            name
            for name, one, other in compared
            if not np.array_equal(one, other) and not equal(one, other, atol=tol)
        ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties at once; ASE asks for them one by one and finds them cached.

        Parameters
        ----------
        atoms : Atoms, optional
            Those of the last call if not given.
        properties, system_changes : list of str
            Taken as ASE hands them over: everything is computed each time.

        Raises
        ------
        ValueError
            If there are no atoms, an element is unknown to the model, positions or cell are not
            finite, or the cell is flat or open and no `length` is given.

        Examples
        --------
        >>> from ase.build import bulk
        >>> calculator = ContinuouSPCalculator("mp20")
        >>> calculator.calculate(bulk("NaCl", "rocksalt", a=5.6))
        >>> calculator.results["forces"].shape, calculator.results["stress"].shape
        ((2, 3), (6,))
        """
        self.results = {}  # whatever fails below must not leave those of other atoms
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise ValueError("atoms must be given to a calculator that has seen none")
        crystals = self._crystal(self.atoms)
        self._model.require_elements(crystals.numbers)
        found = self._evaluate(crystals)
        unit, offset = float(self._model.card.get("energy_unit", 1.0)), 0.0
        if self._formation is not None:
            unit = self._formation.energy_unit
            offset = self._formation.offset_per_atom(crystals.numbers)
        energy = float(found.energy[0]) * unit + offset * crystals.n_atoms
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": found.energies * unit + offset,
            "forces": found.forces * unit,
        }
        if np.all(self.atoms.pbc):  # else there is no volume, and ASE says that there is no stress
            self.results["stress"] = full_3x3_to_voigt_6_stress(found.stress[0]) * unit

    def settle(self) -> None:
        """Compile rather than evaluate anything in plain torch, in this process from now on."""
        settle()

    def _evaluate(self, crystals: Crystals) -> Evaluation:
        try:
            return prompt(self._energy, crystals)
        except (MemoryError, RuntimeError) as error:  # torch has a RuntimeError of its own
            is_known = any(words in str(error) for words in ("out of memory", "allocate memory"))
            if not isinstance(error, MemoryError) and not is_known:
                raise
            raise MemoryError(
                f"atoms: {crystals.n_atoms} atoms do not fit into the memory of "
                f"{self._energy.device}. Memory grows with their number: take a smaller cell (a "
                "supercell has the energy per atom of its cell), dtype='float32', or "
                "device='cpu' if this was a GPU."
            ) from error

    def _crystal(self, atoms: Atoms) -> Crystals:
        """Return the crystal that is evaluated; of open directions one whose images are far."""
        length = self.parameters["length"]
        if length is not None:
            atoms = closed(atoms, self._energy.network.cutoff_ratio * length)
        elif not np.all(atoms.pbc) and len(atoms):
            raise ValueError(
                "atoms must have a full 3-D periodic cell, because the cutoff follows (V/N)^(1/3): "
                f"pbc is {atoms.pbc.tolist()}. For surfaces and molecules pass length=, "
                "(V/N)^(1/3) of the bulk crystal."
            )
        crystal = from_atoms(atoms)
        if length is None and not self._warned and has_vacuum(crystal):
            self._warned = True
            warnings.warn(
                f"atoms: a layer of {widest_gap(crystal):.1f} Å holds no atom. The cutoff of this "
                "energy follows (V/N)^(1/3), so energies and forces depend on the thickness of the "
                "vacuum. For surfaces and molecules pass length=, (V/N)^(1/3) of the bulk crystal.",
                stacklevel=2,
            )
        return crystal


def _name_or_path(model: Any) -> str:
    """Return a model name or path as text, for JSON."""
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"model must be a name or a path: got {type(model).__name__}")
    return os.fsdecode(model)


# `get_calculator_class("continuousp")` and `ase run continuousp`; a second registration would fail.
if ContinuouSPCalculator.name not in external_calculators:
    register_calculator_class(ContinuouSPCalculator.name, ContinuouSPCalculator)
