"""Metrics of generated crystals against worked examples and independent computations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.evaluation.metrics import (
    classify_stability,
    generation_metrics,
    hull_distances,
    recall,
)
from ase_continuousp.evaluation.metrics.of_report import with_metrics
from ase_continuousp.evaluation.metrics.validity import has_room, is_charge_balanced
from ase_continuousp.evaluation.metrics.variety import classes
from ase_continuousp.io import from_atoms
from tests.systems import perovskite
from tests.tiny_model import save_tiny_model


def crystals(*atoms) -> list[Crystals]:
    return list(from_atoms(list(atoms)))


def salt(kind: str = "rocksalt", a: float = 5.6):
    return bulk("NaCl", kind, a=a)


# Oxidation states of school chemistry; SMACT and pymatgen agree on these.
@pytest.mark.parametrize("rules", ["pymatgen", "smact"])
@pytest.mark.parametrize(
    ("formula", "balanced"),
    [
        *(("NaCl", True), ("MgO", True), ("SrTiO3", True), ("Al2O3", True), ("Fe", True)),
        *(("CuZn", True), ("NaCl2", False), ("Na2Cl", False), ("MgF3", False), ("LiF3", False)),
    ],
)
def test_charges(formula: str, balanced: bool, rules: str) -> None:
    if rules == "smact":
        pytest.importorskip("smact")
    from ase.symbols import Symbols

    numbers = Symbols.fromsymbols(formula).numbers
    assert is_charge_balanced(numbers, rules=rules) is balanced
    assert is_charge_balanced(np.tile(numbers, 2), rules=rules) is balanced


def test_atoms_need_room_from_others_and_from_images() -> None:
    good = perovskite()
    near = good.copy()
    near.positions[1] = near.positions[0] + [0.3, 0.3, 0]
    flat = bulk("Po", "sc", a=3.35)
    flat.set_cell(np.diag([3.35, 3.35, 0.4]), scale_atoms=True)
    assert [has_room(one) for one in crystals(good, near, flat)] == [True, False, False]


def test_classes_are_those_of_the_matcher() -> None:
    found = crystals(salt(), bulk("Cu"), salt(a=6.0), salt("zincblende"), salt().repeat((2, 1, 1)))
    assert classes(found).tolist() == [0, 1, 0, 3, 0]


def test_recall_by_hand() -> None:
    """Two polymorphs in each other's rows: no row matches, everything is found."""
    other = bulk("NaCl", "cesiumchloride", a=3.4)
    truths = crystals(salt(), other, bulk("Cu"), perovskite())
    shaken = perovskite()
    shaken.positions[4] += [0.2, 0.0, 0.0]
    found = crystals(other, salt(), bulk("Ni"), shaken)
    rows = zip(found[:2], truths[:2], strict=True)
    assert [rms_distance(*pair) for pair in rows] == [None, None]
    rms = rms_distance(found[3], truths[3])
    assert rms is not None
    known = recall(found, truths)
    assert known.metre == 0.75
    assert known.crmse == pytest.approx((0 + 0 + 0.5 + rms) / 4, abs=1e-6)
    # The equation of the docstring.
    assert known.crmse == pytest.approx(0.75 * (rms / 3) + 0.25 * 0.5, abs=1e-6)
    assert recall([], truths).crmse == 0.5


def test_classification_by_hand() -> None:
    """Ten crystals, four stable; five called stable, three of them rightly."""
    true = [0, -0.01, 0, 0, 0.1, 0.2, 0.1, 0.3, 0.1, 0.2]
    guess = [0, -0.02, -0.1, 0.05, -0.1, 0, 0.2, 0.3, np.nan, 0.1]
    found = classify_stability(true, guess)
    assert (found.n, found.n_missing) == (10, 1)
    assert found.prevalence == 0.4
    assert found.precision == pytest.approx(3 / 5)
    assert found.recall == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert found.daf == pytest.approx(0.6 / 0.4)
    assert found.mae == pytest.approx((0 + 0.01 + 0.1 + 0.05 + 0.2 + 0.2 + 0.1 + 0 + 0.1) / 9)


def test_classification_of_extremes() -> None:
    none_called = classify_stability([0.0, 0.1], [0.2, 0.2])
    assert none_called.precision is none_called.f1 is none_called.daf is None
    assert classify_stability([0.3, 0.1], [0.2, 0.2]).recall is None
    with pytest.raises(ValueError, match="of one length"):
        classify_stability([0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="true must be finite"):
        classify_stability([np.nan], [0.0])


def test_hull_of_a_binary_by_hand() -> None:
    def with_energy(atoms, per_atom: float):
        atoms.calc = SinglePointCalculator(atoms, energy=per_atom * len(atoms))
        return atoms

    known = [
        with_energy(bulk("Cu"), -4.0),
        with_energy(bulk("Au"), -3.0),
        with_energy(bulk("CuAu", "rocksalt", a=5.0), -3.7),
    ]
    asked = [
        with_energy(bulk("CuAu", "zincblende", a=5.5), -3.65),  # 0.05 above the compound
        with_energy(bulk("CuAu", "cesiumchloride", a=3.2), -3.8),  # 0.1 below
        with_energy(bulk("NaCl", "rocksalt", a=5.6), -3.0),  # elements unknown
    ]
    found = hull_distances(asked, known)
    np.testing.assert_allclose(found, [0.05, -0.1, np.nan], atol=1e-9)


def test_metrics_of_a_small_set() -> None:
    truths = crystals(salt(), bulk("Cu"), perovskite())
    crowded = bulk("Po", "sc", a=0.45)
    found = crystals(salt(), salt(a=5.8), bulk("Cu"), crowded)
    metrics = generation_metrics(
        found,
        truths,
        reference=from_atoms(bulk("Cu")),
        above_hull=[0.05, 0.05, 0.0, np.nan],
    )
    assert (metrics.charge, metrics.room, metrics.valid) == (1.0, 0.75, 0.75)
    assert (metrics.unique, metrics.novel, metrics.stable) == (0.75, 0.75, 0.75)
    assert metrics.sun == 0.25  # the first salt alone
    assert metrics.metre == pytest.approx(2 / 3)
    # Numbers of elements 2, 2, 1 against 2, 1, 3: sorted 1, 2, 2 and 1, 2, 3.
    assert metrics.elements == pytest.approx(1 / 3)
    assert "sun       0.250 ± 0.217" in metrics.summary()


def test_metrics_of_an_evaluation(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    data = [salt(), bulk("Cu"), bulk("Al")]
    report = evaluate(model, data, processes=1, n_steps=3, controls=False)
    entries = [bulk("Cu"), bulk("Al")]
    for atoms in entries:
        atoms.calc = EMT()
    truths = from_atoms(data)
    with pytest.raises(ValueError, match="given together"):
        with_metrics(report, truths, entries=entries)
    metals = evaluate(model, data[1:], processes=1, n_steps=3, controls=False)
    full = with_metrics(
        metals, truths.select([1, 2]), reference=truths, entries=entries, calculator=EMT()
    )
    path = tmp_path / "report.json"
    full.save(path)
    stored = json.loads(path.read_text())["metrics"]
    assert stored["n"] == sum(bool(row.top1_cif) for row in metals.per_structure) > 0
    assert 0 <= stored["metre"] <= 1
    assert stored["sun"] is not None
    assert stored["summary"].splitlines()[0] in full.summary()
