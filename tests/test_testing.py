"""The public checks pass what is right and fail what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from ase_continuousp import testing
from tests.systems import rattled


class Broken(EMT):
    """EMT with one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        extra = {
            "origin": 1e-3 * np.sin(self.atoms.positions[0, 0]),
            "axis": 1e-3 * self.atoms.cell[0, 0],
            "order": 1e-3 * self.atoms.numbers[0],
            "cell": 1e-3,  # per cell, whatever its size
            "jump": 0.05 if self.atoms.positions[0, 0] > 0.3 else 0.0,
        }.get(self.fault, 0.0)
        self.results["energy"] += extra
        self.results["free_energy"] += extra
        if self.fault == "forces":
            self.results["forces"][0, 0] *= 1.0 + 1e-4
        if self.fault == "stress":
            self.results["stress"] *= -1.0
        if self.fault == "turn":
            self.results["forces"] = self.results["forces"][:, [1, 0, 2]]


def copper(fault: str = "") -> Atoms:
    atoms = rattled(bulk("Cu", cubic=True), 0.1)
    atoms.symbols[-1] = "Au"
    atoms.calc = Broken(fault)
    return atoms


def test_right_calculator_passes_and_atoms_stay() -> None:
    atoms = copper()
    atoms.set_constraint(FixAtoms([0]))
    before = atoms.copy()
    testing.assert_forces(atoms)
    testing.assert_stress(atoms)
    testing.assert_invariant(atoms)
    last = rattled(atoms, 0.2)
    found = testing.assert_continuous(atoms, last, n_steps=(5, 50))
    assert found[1][1] < 0.2 * found[0][1]
    assert atoms == before
    assert atoms.constraints


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("forces", testing.assert_forces, "forces are off by"),
        ("stress", testing.assert_stress, "stress are off by"),
        ("origin", testing.assert_invariant, "changes by .* under translation"),
        ("axis", testing.assert_invariant, "under rotation"),
        ("order", testing.assert_invariant, "under permutation"),
        ("cell", testing.assert_invariant, "under supercell"),
        ("turn", testing.assert_invariant, "forces under rotation"),
    ],
)
def test_fault_is_found(fault: str, check, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(copper(fault))


def test_jump_is_found() -> None:
    first = copper("jump")
    last = first.copy()
    last.positions[0, 0] += 0.6
    with pytest.raises(AssertionError, match="shrinks to"):
        testing.assert_continuous(first, last, n_steps=(20, 200))
    last.symbols[0] = "Ag"
    with pytest.raises(ValueError, match="same elements"):
        testing.assert_continuous(first, last)
