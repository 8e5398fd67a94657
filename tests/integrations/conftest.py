"""What the tests with other people's tools share."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk

from ase_continuousp import ContinuouSPCalculator


@pytest.fixture
def calc() -> ContinuouSPCalculator:
    return ContinuouSPCalculator("mp20", device="cpu", dtype="float64")


@pytest.fixture
def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.8)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the files that the tools leave behind do no harm."""
    monkeypatch.chdir(tmp_path)
