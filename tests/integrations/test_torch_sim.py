"""torch-sim: its own check of model interfaces, and agreement with the calculator."""

from __future__ import annotations

import pytest
import torch
from ase.build import bulk

from ase_continuousp import ContinuouSPCalculator
from ase_continuousp.torch_sim import ContinuouSPModel

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
torch_sim = pytest.importorskip("torch_sim")
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interface_check_of_torch_sim(dtype: torch.dtype) -> None:
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(ContinuouSPModel("mp20", device="cpu", dtype=dtype), CPU, dtype)


def test_batch_agrees_with_the_calculator(calc: ContinuouSPCalculator) -> None:
    crystals = [bulk("NaCl", "rocksalt", a=5.8), bulk("Mg"), bulk("Si", cubic=True)]
    for atoms in crystals:
        atoms.rattle(0.1, seed=0)
        atoms.set_cell(atoms.cell.array @ [[1.02, 0.03, 0], [0, 0.99, 0], [0, 0.01, 1]], True)
    model = ContinuouSPModel("mp20", device="cpu")
    found = model(torch_sim.io.atoms_to_state(crystals, CPU, torch.float64))
    first = 0
    for n, atoms in enumerate(crystals):
        atoms.calc = calc
        expected = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(voigt=False),
        }
        last = first + len(atoms)
        got = {
            "energy": found["energy"][n],
            "forces": found["forces"][first:last],
            "stress": found["stress"][n],
        }
        for name, value in expected.items():
            torch.testing.assert_close(
                got[name], torch.as_tensor(value, dtype=torch.float64), rtol=1e-9, atol=1e-9
            )
        first = last


def test_open_directions_are_refused() -> None:
    model = ContinuouSPModel("mp20", device="cpu")
    atoms = bulk("Cu")
    atoms.pbc = False
    with pytest.raises(ValueError, match="state must be periodic in all directions"):
        model(torch_sim.io.atoms_to_state([atoms], CPU, torch.float64))
