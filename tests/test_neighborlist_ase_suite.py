"""ASE's own test of its neighbor search, from the ase wheel, with ours in its place."""

from __future__ import annotations

from types import FunctionType

import pytest
from ase.test.neighbor import test_neighbor_kernel as kernel

from ase_continuousp import neighbor_list

# Without ASE's mark "slow", which would leave it out here.
test_neighbor_kernel = FunctionType(
    kernel.test_neighbor_kernel.__code__, vars(kernel), "test_neighbor_kernel"
)


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "neighbor_list", neighbor_list)
