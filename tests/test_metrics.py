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
    Recall,
    classify_stability,
    energetics,
    generation_metrics,
    hull_distances,
    recall,
)
from ase_continuousp.evaluation.metrics.coverage import coverage_of
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


def test_recall_asks_for_reduced_compositions_and_takes_the_nearest() -> None:
    """Of three found perovskites, one of two cells, the one nearest to the known one counts."""
    far, near = perovskite(), perovskite().repeat((2, 1, 1))
    far.positions[4] += [0.3, 0.0, 0.0]
    near.positions[4] += [0.05, 0.0, 0.0]
    truths = crystals(perovskite(), perovskite())
    found = crystals(far, near, bulk("Cu"))
    best = rms_distance(found[1], truths[0])
    assert best is not None
    assert best < rms_distance(found[0], truths[0])
    assert recall(found, truths) == Recall(1.0, round(best, 12), 2)


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


# What stable_metrics of matbench_discovery.metrics.discovery (commit 04cbce9c) gives for these:
# threshold, whether every seventh prediction is missing, F1, DAF, precision, recall, MAE.
MATBENCH_DISCOVERY = [
    (0.0, False, 0.48979591836734687, 1.0012515644555695, 0.47058823529411764, 24 / 47, None),
    (0.0, True, 0.7555555555555555, 1.6823354774863928, 0.7906976744186046, 34 / 47, 0.3885902863),
    (0.1, True, 0.8080808080808081, 1.6339869281045751, 0.8333333333333334, 40 / 51, 0.3885902863),
]


@pytest.mark.parametrize("row", MATBENCH_DISCOVERY)
def test_classification_is_that_of_matbench_discovery(row: tuple) -> None:
    threshold, gaps, f1, daf, precision, hit_rate, mae = row
    true, guess = np.random.default_rng(seed=0).normal(size=(2, 100))
    if gaps:
        guess = true + 0.5 * guess
        guess[::7] = np.nan
    found = classify_stability(true, guess, threshold=threshold)
    assert (found.f1, found.daf) == (pytest.approx(f1), pytest.approx(daf))
    assert (found.precision, found.recall) == (pytest.approx(precision), pytest.approx(hit_rate))
    assert found.mae == pytest.approx(1.0611505074347058 if mae is None else mae)


def test_classification_where_all_calls_are_wrong() -> None:
    """From the tests of matbench-discovery: precision, recall and DAF 0, F1 not defined."""
    found = classify_stability(np.arange(-1, 1, 0.1), np.arange(1, -1, -0.1))
    assert (found.precision, found.recall, found.daf, found.f1) == (0.0, 0.0, 0.0, None)
    assert found.mae == pytest.approx(0.999, abs=1.1e-3)
    gaps = classify_stability([-1, 1, 0.1, -0.5, 0.5], [-1, 1, -0.1, np.nan, np.nan])
    assert (gaps.recall, gaps.precision, gaps.daf) == (0.5, 0.5, 1.25)  # FNR 1/2, as there


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
    assert "S.U.N.         0.250 ± 0.217" in metrics.summary()


def test_relaxed_crystals_are_asked_for_variety() -> None:
    """Two salts that relax to one crystal are unique as found, and half of them at rest."""
    found = crystals(salt(), salt("zincblende"))
    metrics = generation_metrics(
        found,
        found,
        reference=from_atoms(bulk("Cu")),
        above_hull=[0.0, 0.0],
        relaxed=[found[0], found[0]],
        formation=([-1.0, np.nan], [-1.5, np.nan]),
    )
    assert (metrics.unique, metrics.novel, metrics.no_hull) == (1.0, 1.0, 0.0)
    assert (metrics.relaxed_unique, metrics.relaxed_novel, metrics.sun) == (0.5, 1.0, 0.5)
    assert metrics.energy == pytest.approx(0.5)


def test_energetics_by_hand() -> None:
    """A strained fcc copper falls to the hull; bcc copper lies above it; EMT knows no sodium."""
    found = crystals(bulk("Cu", a=3.7), bulk("Cu", "bcc", a=2.9), salt())
    known = crystals(bulk("Cu", a=3.5899), bulk("Al"), salt(), bulk("Cu", "sc", a=2.4))
    made = energetics(found, found, known, EMT())
    assert made.n_phases == 2  # no aluminium asked for, and no salt of that calculator
    copper = bulk("Cu", a=3.5899)
    copper.calc = EMT()
    zero = copper.get_potential_energy()
    strained = bulk("Cu", a=3.7)
    strained.calc = EMT()
    assert made.formation[0] == pytest.approx(strained.get_potential_energy() - zero, abs=1e-9)
    np.testing.assert_array_equal(made.formation, made.true_formation)
    assert made.above_hull[0] == pytest.approx(0.0, abs=1e-3)
    assert 0.0 < made.above_hull[1] < made.formation[1]
    assert np.isnan(made.above_hull[2])
    assert made.relaxed[2] is found[2]
    as_found = energetics(found[:1], found[:1], known, EMT(), max_steps=0)
    np.testing.assert_allclose(as_found.above_hull, as_found.formation, atol=1e-9)
    with pytest.raises(ValueError, match="phases must hold"):
        energetics(found, found, crystals(bulk("Al")), EMT())


def test_coverage_by_hand() -> None:
    """Four found, three known, on lines: one is near nothing, one has no fingerprint."""
    found = [[0.0], [0.3], [5.0], [np.nan]], [[0.0], [9.0], [1.0], [0.0]]
    truths = [[0.2], [0.6], [9.0]], [[0.0], [8.0], [0.0]]
    cover = coverage_of(found, truths)
    # Structures: nearest to the known 0.1, 0.3, 4; nearest to the found 0.2, 0.1, 4.
    assert cover.amsd_recall == pytest.approx((0.1 + 0.3 + 4.0) / 3)
    assert cover.amsd_precision == pytest.approx((0.2 + 0.1 + 4.0) / 3)
    # Compositions: 0, 1, 0 and 0, 1, 1; all within 10.
    assert cover.amcd_recall == pytest.approx(1 / 3)
    assert cover.amcd_precision == pytest.approx(2 / 3)
    assert (cover.recall, cover.precision) == (2 / 3, 2 / 4)
    assert cover.n_failed == 1
    # With compositions within 0.5, the second known crystal is out (1 away).
    near = coverage_of(found, truths, cutoffs=(0.4, 0.5))
    assert (near.recall, near.precision) == (1 / 3, 1 / 4)
    # The first known one is 0.2 from the found one of its composition: out of 0.15 for one that
    # is near in both, though another is near in structure.
    apart = coverage_of(found, truths, cutoffs=(0.15, 0.5))
    assert (apart.recall, apart.joint_recall) == (1 / 3, 0.0)
    assert near.joint_recall == 1 / 3
    with pytest.raises(ValueError, match="cutoffs must be positive"):
        coverage_of(found, truths, cutoffs=(0.0, 1.0))


def test_coverage_of_nothing_that_has_a_fingerprint() -> None:
    cover = coverage_of(([[np.nan]], [[0.0]]), ([[0.0]], [[0.0]]))
    assert (cover.recall, cover.precision, cover.amsd_recall) == (0.0, 0.0, None)


def test_metrics_of_an_evaluation(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    data = [salt(), bulk("Cu"), bulk("Al")]
    report = evaluate(model, data, processes=1, n_steps=3, controls=False)
    truths = from_atoms(data)
    with pytest.raises(ValueError, match="phases must come with a calculator"):
        with_metrics(report, truths, phases=truths)
    with pytest.raises(ValueError, match="phases or a reference"):
        with_metrics(report, truths, calculator=EMT())
    metals = evaluate(model, data[1:], processes=1, n_steps=3, controls=False)
    known = from_atoms([bulk("Cu"), bulk("Al")])
    full = with_metrics(
        metals, truths.select([1, 2]), reference=truths, phases=[known], calculator=EMT()
    )
    path = tmp_path / "report.json"
    full.save(path)
    stored = json.loads(path.read_text())["metrics"]
    assert stored["n"] == sum(bool(row.top1_cif) for row in metals.per_structure) > 0
    assert 0 <= stored["metre"] <= 1
    assert stored["sun"] is not None
    assert stored["summary"].splitlines()[0] in full.summary()
