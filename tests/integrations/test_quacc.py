"""quacc: its runner with our calculator, and with our optimizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import LBFGS

from ase_continuousp import AnnealedLangevin, ContinuouSPCalculator

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
pytest.importorskip("quacc")


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUACC_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("QUACC_SCRATCH_DIR", str(tmp_path / "scratch"))


def test_runner_with_our_calculator(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    from quacc.runners.ase import Runner

    salt.rattle(0.05, seed=0)
    optimizer = Runner(salt, calc).run_opt(fmax=0.05, max_steps=200, optimizer=LBFGS)
    assert optimizer.converged(optimizer.optimizable.get_gradient())
    assert Runner(salt, calc).run_calc().get_potential_energy() < 0.0


def test_runner_with_our_optimizer() -> None:
    from quacc.runners.ase import Runner

    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=0)
    settings = {"n_steps": 30, "seed": 0, "temperature": (0.05, 1e-3), "move_cell": False}
    optimizer = Runner(copper, EMT()).run_opt(
        fmax=0.05, max_steps=300, optimizer=AnnealedLangevin, optimizer_kwargs=settings
    )
    assert optimizer.nsteps >= 30
