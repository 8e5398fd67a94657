"""More of ASE's own tests of its optimizers; `tests/test_optimizer.py` has those on `optcls`."""

from __future__ import annotations

from functools import partial

import pytest
from ase.test.conftest import testdir  # noqa: F401
from ase.test.optimize import test_restart as restart_module
from ase.test.optimize.test_restart import test_none_restart, test_path_restart  # noqa: F401

from ase_continuousp.sampling.optimizer import AnnealedLangevin


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put our optimizer where the module has BFGS; a crystal keeps its cell there."""
    ours = partial(AnnealedLangevin, n_steps=5, move_cell=False, seed=0, temperature=(0.01, 1e-3))
    monkeypatch.setattr(restart_module, "BFGS", ours)
