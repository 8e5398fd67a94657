"""CHGNet: another learned energy beside ours, in one sum."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.mixing import LinearCombinationCalculator

from ase_continuousp import ContinuouSPCalculator

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
chgnet = pytest.importorskip("chgnet.model.dynamics")


def test_weighted_sum(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    salt.rattle(0.1, seed=0)
    theirs = chgnet.CHGNetCalculator(use_device="cpu")
    expected = 0.1 * calc.get_forces(salt) + theirs.get_forces(salt)
    salt.calc = LinearCombinationCalculator([calc, theirs], [0.1, 1.0])
    np.testing.assert_allclose(salt.get_forces(), expected, atol=1e-5)
    assert salt.get_stress().shape == (6,)
