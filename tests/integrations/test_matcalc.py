"""matcalc: relaxation, equation of state, elasticity."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from pymatgen.core.elasticity import ElasticTensor
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp import ContinuouSPCalculator

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
matcalc = pytest.importorskip("matcalc")


def test_relaxation(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    before = calc.get_potential_energy(salt)
    found = matcalc.RelaxCalc(calc, fmax=0.01).calc(AseAtomsAdaptor.get_structure(salt))
    assert found["energy"] < before
    assert found["final_structure"].get_space_group_info()[1] == 225


def test_equation_of_state(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    structure = AseAtomsAdaptor.get_structure(salt)
    found = matcalc.EOSCalc(calc, fmax=0.01, relax_structure=True).calc(structure)
    assert found["bulk_modulus_bm"] > 0.0
    assert found["r2_score_bm"] > 0.9


# It warns of bad fits: to it those of the 24 components that vanish in a cubic crystal are.
def test_elasticity(calc: ContinuouSPCalculator, salt: Atoms) -> None:
    structure = AseAtomsAdaptor.get_structure(salt)
    found = matcalc.ElasticityCalc(calc, fmax=0.01).calc(structure)
    tensor = ElasticTensor(found["elastic_tensor"]).voigt
    cubic = np.diag(np.repeat([tensor[0, 0] - tensor[0, 1], tensor[3, 3]], 3))
    cubic[:3, :3] += tensor[0, 1]
    np.testing.assert_allclose(tensor, cubic, atol=0.01 * tensor.max())
    assert np.linalg.eigvalsh(tensor).min() > 0.0
