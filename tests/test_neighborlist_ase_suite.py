"""ASE's own test of its neighbor search, from the ase wheel, with ours in its place."""

from __future__ import annotations

import pytest
from ase.test.neighbor import test_neighbor_kernel as kernel
from ase.test.neighbor.test_neighbor_kernel import test_neighbor_kernel  # noqa: F401

from ase_continuousp import neighbor_list


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "neighbor_list", neighbor_list)
