"""The learned energy as a model of torch-sim, which relaxes and samples many crystals at once.

Needs the extra ``torch-sim``. Without it this module can be imported, but the model not made.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals, offsets_of
from ase_continuousp.model.checkpoint import load_model

try:
    from torch_sim.models.interface import ModelInterface
except ImportError:
    ModelInterface = None
_Base: Any = torch.nn.Module if ModelInterface is None else ModelInterface


class ContinuouSPModel(_Base):  # type: ignore[misc]
    """Energies, forces and stresses of a torch-sim state of crystals.

    The whole state is one batch. Energies, forces and stresses are those of
    :class:`ase_continuousp.ContinuouSPCalculator`; what is said there of their meaning holds here.

    Parameters
    ----------
    model : str or path
        A name of :func:`ase_continuousp.list_models`, or a model folder.
    device : str or torch.device
    dtype : torch.dtype
        torch.float32 or torch.float64, of the state and of the network.
    length : float, optional [Å]
        Stands for (V/N)^(1/3) in cutoff and energy.

    Raises
    ------
    ImportError
        If torch-sim is not installed.
    ValueError
        As the calculator does.

    Examples
    --------
    >>> import torch_sim  # doctest: +SKIP
    >>> model = ContinuouSPModel("mp20")  # doctest: +SKIP
    >>> state = torch_sim.initialize_state(  # doctest: +SKIP
    ...     [bulk("Cu"), bulk("NaCl", "rocksalt", a=5.7)], model.device, model.dtype
    ... )
    >>> model(state)["energy"].shape  # doctest: +SKIP
    torch.Size([2])
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "mp20",
        *,
        device: str | torch.device = "auto",
        dtype: torch.dtype = torch.float64,
        length: float | None = None,
    ) -> None:
        if ModelInterface is None:
            raise ImportError("torch-sim is needed: pip install 'ase-continuousp[torch-sim]'")
        super().__init__()
        self._model = load_model(model)
        name = str(dtype).removeprefix("torch.")
        self._energy = self._model.energy(device=str(device), dtype=name, length=length)
        self._device = self._energy.device
        self._dtype = dtype
        self._compute_stress = True
        self._compute_forces = self._compute_force = True  # torch-sim has had both names
        self._memory_scales_with = "n_atoms"  # the cutoff follows the density

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Return "energy" (n_systems,), "forces" (n_atoms, 3) and "stress" (n_systems, 3, 3)."""
        crystals = _crystals(state)
        self._model.require_elements(crystals.numbers)
        found = self._energy(crystals)
        unit = float(self._model.card.get("energy_unit", 1.0))
        return {
            name: torch.from_numpy(unit * value).to(self._device, self._dtype)
            for name, value in (
                ("energy", found.energy),
                ("forces", found.forces),
                ("stress", found.stress),
            )
        }


def _crystals(state: Any) -> Crystals:
    """Return a torch-sim state as a batch; torch-sim keeps the atoms of a system together."""
    if isinstance(state, dict):
        import torch_sim

        state = torch_sim.SimState(**state)
    if not bool(torch.as_tensor(state.pbc).all()):
        raise ValueError(f"state must be periodic in all directions: pbc is {state.pbc}")
    cells = _array(state.row_vector_cell).astype(np.float64).reshape(-1, 3, 3)
    counts = np.bincount(_array(state.system_idx), minlength=len(cells))
    made = Crystals(
        positions=_array(state.positions).astype(np.float64),
        cells=cells,
        numbers=_array(state.atomic_numbers).astype(np.int64),
        offsets=offsets_of(counts),
    )
    made.validate()
    return made


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()
