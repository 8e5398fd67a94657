"""janus-core: single point and geometry optimization through its Python interface."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from ase_continuousp import ContinuouSPCalculator

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
pytest.importorskip("janus_core")


def test_single_point(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    from janus_core.calculations.single_point import SinglePoint

    expected = calc.get_stress(salt)
    salt.calc = calc
    found = SinglePoint(struct=salt, properties=["energy", "forces", "stress"]).run()
    assert found["energy"] == pytest.approx(calc.get_potential_energy(salt))
    np.testing.assert_allclose(found["stress"], expected, atol=1e-10)


def test_geometry_optimization(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    from janus_core.calculations.geom_opt import GeomOpt

    before = calc.get_potential_energy(salt)
    salt.calc = calc
    GeomOpt(struct=salt, fmax=0.02, steps=200).run()
    assert calc.get_potential_energy(salt) < before
