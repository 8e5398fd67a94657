"""The example with CHGNet: random sodium chloride finds low energies. Needs ``chgnet``."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore"),  # of CHGNet and what it brings
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "04_anneal_nacl_chgnet.py"


def test_random_sodium_chloride_is_annealed(tmp_path: Path) -> None:
    pytest.importorskip("chgnet")
    main = runpy.run_path(str(EXAMPLE))["main"]
    path = tmp_path / "nacl.traj"
    anneal = main(["--steps", "150", "--trajectory", str(path)])
    assert anneal.stop_reason is None
    assert anneal.nsteps >= 150
    best = anneal.best_atoms
    # The ground state is at −3.67 eV per atom; a disordered start lies an eV above.
    assert best.get_potential_energy() / len(best) < -3.4
    assert 15.0 < best.get_volume() / len(best) < 40.0
    assert np.isfinite(best.get_stress()).all()
    assert path.exists()
