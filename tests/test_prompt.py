"""The first answers on an empty Numba cache: the same energy, and nothing compiled for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

from ase_continuousp import AnnealedLangevin, ContinuouSPCalculator
from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.model import prompt as module
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.prompt import NotCompiledError, nothing_compiled, plain, prompt
from tests.systems import perovskite, rattled

FRESH = """
import json, sys
from ase.io import read
from ase_continuousp import ContinuouSPCalculator

found = []
for atoms in read(sys.argv[1], ":"):
    for dtype in ("float32", "float64"):
        atoms.calc = ContinuouSPCalculator("mp20", dtype=dtype, length=atoms.info.get("length"))
        found.append([atoms.get_potential_energy(), atoms.get_forces().tolist()])
        found[-1].append(atoms.get_stress().tolist() if atoms.pbc.all() else [])
print(json.dumps(found))
"""


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_evaluated", 0)
    monkeypatch.setattr(module, "_settled", set())


def some_atoms() -> list[Atoms]:
    drifted = rattled(bulk("NaCl", "rocksalt", a=5.64, cubic=True), 0.2)
    drifted.positions += drifted.cell.array.sum(axis=0) * [[300.0]]
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.info = {"length": 2.28}
    return [rattled(bulk("Fe"), 0.1), rattled(perovskite(), 0.1), drifted, slab]


def test_an_empty_cache_gives_the_same_numbers_and_compiles_nothing(tmp_path: Path) -> None:
    from ase.io import write

    write(tmp_path / "some.traj", some_atoms())
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "some.traj")],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "empty").rglob("*.nb?"))
    answers = iter(json.loads(done.stdout))
    for atoms in some_atoms():
        for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-9)):
            atoms.calc = ContinuouSPCalculator("mp20", dtype=dtype, length=atoms.info.get("length"))
            energy, forces, stress = next(answers)
            assert energy == pytest.approx(atoms.get_potential_energy(), rel=tolerance)
            scale = np.abs(atoms.get_forces()).max() + 1.0
            np.testing.assert_allclose(forces, atoms.get_forces(), atol=tolerance * scale)
            if stress:
                np.testing.assert_allclose(stress, atoms.get_stress(), atol=tolerance)


def test_refusal_is_of_this_thread_and_of_what_is_not_compiled() -> None:
    known, new, other = (numba.njit(lambda x, n=n: x + n) for n in (1, 2, 3))
    known(1)
    with nothing_compiled():
        assert known(1) == 2
        with pytest.raises(NotCompiledError):
            new(1)
        thread = threading.Thread(target=other, args=(1,))
        thread.start()
        thread.join()
    assert other.signatures
    assert not new.signatures
    assert new(1) == 3


class Uncompiled(ModelEnergy):
    """Tells how often it would have compiled, and does so where it is allowed."""

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        self.kernel = numba.njit(lambda x: x)

    def __call__(self, crystals: Crystals) -> Any:
        self.kernel(1)
        return super().__call__(crystals)


@pytest.mark.usefixtures("unsettled")
def test_compiles_when_that_has_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_ATOMS", 5)
    energy = Uncompiled(ContinuousEnergy(channels=16, vector_channels=16))
    iron = from_atoms([bulk("Fe"), bulk("Fe")])
    for _ in range(2):
        found = prompt(energy, iron)
        assert not energy.kernel.signatures
        np.testing.assert_array_equal(found.energy, plain(energy, iron).energy)
    prompt(energy, iron)
    assert energy.kernel.signatures


@pytest.mark.usefixtures("unsettled")
def test_compiles_at_once_for_large_crystals_and_after_settle() -> None:
    network = ContinuousEnergy(channels=16, vector_channels=16)
    large, small = Uncompiled(network), Uncompiled(network)
    prompt(large, from_atoms(bulk("Fe") * (8, 8, 8)))
    assert large.kernel.signatures
    module._settled.clear()
    ContinuouSPCalculator("mp20").settle()
    prompt(small, from_atoms(bulk("Fe")))
    assert small.kernel.signatures


@pytest.mark.usefixtures("unsettled")
def test_seeded_sampling_does_not_depend_on_the_cache() -> None:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    AnnealedLangevin(atoms, n_steps=1, logfile=None)
    assert module._evaluated == 0
    atoms.calc = ContinuouSPCalculator("mp20")
    AnnealedLangevin(atoms, n_steps=1, logfile=None)
    assert module._evaluated >= module.PLAIN_ATOMS
