"""What generation metrics take from other libraries: matminer's fingerprints, SMACT, CHGNet."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from scipy.spatial.distance import cdist

from ase_continuousp.cli import main as command_line
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics import CUTOFFS, coverage, generation_metrics
from ase_continuousp.evaluation.metrics.fingerprints import (
    composition_fingerprint,
    fit_scale,
    mp20_scale,
    structure_fingerprint,
)
from ase_continuousp.evaluation.metrics.validity import is_charge_balanced
from ase_continuousp.io import from_atoms, to_structures
from tests.systems import perovskite
from tests.tiny_model import save_tiny_model

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


def crystals(*atoms) -> list[Crystals]:
    return list(from_atoms(list(atoms)))


SALTS = crystals(
    bulk("NaCl", "rocksalt", a=5.64),
    bulk("ZnS", "zincblende", a=5.41),
    bulk("CsCl", "cesiumchloride", a=4.12),
    bulk("Cu"),
    perovskite(),
)


def test_structures_by_their_coordination() -> None:
    """Rock salt is octahedral, zinc blende tetrahedral, both with order parameter 1."""
    sites = pytest.importorskip("matminer.featurizers.site.fingerprint")
    labels = sites.CrystalNNFingerprint.from_preset("ops").feature_labels()
    expected = {0: ("wt CN_6", "octahedral CN_6"), 1: ("wt CN_4", "tetrahedral CN_4")}
    for place, names in expected.items():
        found = structure_fingerprint(SALTS[place])
        for name in names:
            assert found[labels.index(name)] == pytest.approx(1.0, abs=0.02)
    assert structure_fingerprint(SALTS[0]).shape == (61,)


def test_compositions_by_hand() -> None:
    """Sodium chloride: atomic numbers 11 and 17."""
    magpie = pytest.importorskip("matminer.featurizers.composition.composite")
    labels = magpie.ElementProperty.from_preset("magpie").feature_labels()
    found = composition_fingerprint(SALTS[0])
    hand = {"minimum": 11, "maximum": 17, "range": 6, "mean": 14, "avg_dev": 3}
    for statistic, value in hand.items():
        assert found[labels.index(f"MagpieData {statistic} Number")] == value
    doubled = from_atoms(bulk("NaCl", "rocksalt", a=5.64).repeat(2))
    np.testing.assert_array_equal(composition_fingerprint(doubled), found)


def test_scale_is_that_of_the_set() -> None:
    pytest.importorskip("matminer")
    rows = np.array([composition_fingerprint(one) for one in SALTS])
    scale = fit_scale(SALTS)
    np.testing.assert_allclose(scale(rows).mean(axis=0), 0.0, atol=1e-9)
    assert mp20_scale().mean.shape == rows[0].shape
    assert mp20_scale().std.min() > 0.0


def test_coverage_is_that_of_the_published_recipe() -> None:
    """The recipe of CDVAE, written out with matminer and scipy."""
    sites = pytest.importorskip("matminer.featurizers.site.fingerprint")
    featurizer = sites.CrystalNNFingerprint.from_preset("ops")
    found, truths = SALTS[:3], SALTS[1:]

    def structures(group: list[Crystals]) -> np.ndarray:
        made = [to_structures(one)[0] for one in group]
        return np.array(
            [np.mean([featurizer.featurize(s, i) for i in range(len(s))], axis=0) for s in made]
        )

    def compositions(group: list[Crystals]) -> np.ndarray:
        scale = mp20_scale()
        return (np.array([composition_fingerprint(one) for one in group]) - scale.mean) / scale.std

    by_structure = cdist(structures(found), structures(truths))
    by_composition = cdist(compositions(found), compositions(truths))
    for cutoffs in (*CUTOFFS.values(), (1.0, 12.0)):
        cover = coverage(found, truths, cutoffs=cutoffs)
        recall = (by_structure.min(0) <= cutoffs[0]) & (by_composition.min(0) <= cutoffs[1])
        precision = (by_structure.min(1) <= cutoffs[0]) & (by_composition.min(1) <= cutoffs[1])
        assert (cover.recall, cover.precision) == (recall.mean(), precision.mean())
        assert cover.amsd_recall == pytest.approx(by_structure.min(0).mean())
        assert cover.amcd_precision == pytest.approx(by_composition.min(1).mean())
    whole = coverage(SALTS, SALTS)
    assert whole.recall == whole.precision == whole.joint_recall == 1.0
    assert (whole.amsd_recall, whole.n_failed) == (0.0, 0)


def test_a_needle_covers_nothing() -> None:
    pytest.importorskip("matminer")
    needle = bulk("Po", "sc", a=3.35)
    needle.set_cell(np.diag([1.0, 1.0, 2000.0]), scale_atoms=True)
    cover = coverage(crystals(needle), SALTS)
    assert (cover.recall, cover.precision, cover.n_failed) == (0.0, 0.0, 1)


def test_metrics_hold_the_coverage() -> None:
    pytest.importorskip("matminer")
    metrics = generation_metrics(SALTS, SALTS)
    assert metrics.coverage is not None
    assert "COV-R          1.000 ± 0.000" in metrics.summary()
    assert json.loads(json.dumps(metrics.to_dict()))["coverage"]["recall"] == 1.0


@pytest.mark.parametrize(("formula", "balanced"), [("NaCl", True), ("NaCl2", False)])
def test_smact_judges_charges(formula: str, balanced: bool) -> None:
    pytest.importorskip("smact")
    from ase.symbols import Symbols

    assert is_charge_balanced(Symbols.fromsymbols(formula).numbers, rules="smact") is balanced


def test_stability_by_chgnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line: a metal of a model that knows nothing, against fcc copper."""
    pytest.importorskip("chgnet")
    model = save_tiny_model(tmp_path / "model")
    write(tmp_path / "data.extxyz", [bulk("Cu", a=3.6)])
    write(tmp_path / "known.extxyz", [bulk("Cu", a=3.58), bulk("NaCl", "rocksalt", a=5.6)])
    options = ["--metrics", "--energies", "chgnet", "--reference", "known.extxyz"]
    monkeypatch.setattr(
        sys,
        "argv",
        [
            *("ase-continuousp", "evaluate", "--model", str(model), "--data", "data.extxyz"),
            *("--processes", "1", "--json", "report.json", *options),
        ],
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert not ended.value.code, capsys.readouterr().err
    metrics = json.loads(Path("report.json").read_text())["metrics"]
    # One atom in a cell: whatever lattice it starts from, CHGNet has it within 0.1 eV of fcc.
    assert metrics["no_hull"] == 0.0
    assert metrics["stable"] in (0.0, 1.0)
    assert metrics["sun"] <= metrics["stable"]
    assert "S.U.N." in capsys.readouterr().out
