"""How typical crystals are, and data that prefer typical ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ase_continuousp.cli.main import app
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.io import from_atoms, read_atoms, write_atoms
from ase_continuousp.training.typical import repeats, typicality
from tests.systems import perovskite, rattled

PREFERENCES = st.floats(min_value=0.0, max_value=3.0)
VALUES = st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=1, max_size=60)


def phosphides():
    """Return two kinds: many like each other and one apart; and one alone."""
    salts = [rattled(bulk("GaP", "rocksalt", a=5.4, cubic=True), 0.1) for _ in range(5)]
    salts = [rattled(one, 0.05, seed=k) for k, one in enumerate(salts)]
    return [*salts, bulk("GaP", "zincblende", a=5.4, cubic=True), perovskite()]


def test_small_kinds_are_compared_in_full():
    crystals = from_atoms(phosphides())
    found = typicality(crystals)
    kind = list(crystals)[:6]
    for i, one in enumerate(kind):
        distances = [rms_distance(one, other) for j, other in enumerate(kind) if j != i]
        likeness = [0.0 if d is None else 1 - 0.8 * d / 0.5 for d in distances]
        assert found[i] == pytest.approx(np.mean(likeness), abs=1e-9)
    assert found[6] == 0.0
    assert found[:5].min() > 3 * found[5]


def test_neither_description_nor_order_nor_workers_matter():
    atoms = phosphides()
    found = typicality(from_atoms(atoms))
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = []
    for k in order:
        one = atoms[k].copy()
        one.rotate(40, (1, 2, 3), rotate_cell=True)
        one.translate((0.3, 0.1, 0.7))
        moved.append(one)
    with ThreadPoolExecutor(2) as executor:
        again = typicality(from_atoms(moved), executor=executor)
    np.testing.assert_allclose(again, found[order], atol=1e-5)


def test_a_few_others_stand_for_all():
    rng = np.random.default_rng(1)
    kinds = [("rocksalt", 12), ("zincblende", 5)]
    atoms = [bulk("GaP", kind, a=5 + rng.random()) for kind, n in kinds for _ in range(n)]
    crystals = from_atoms(atoms)
    drawn = [typicality(crystals, n_others=4, seed=seed) for seed in range(8)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), typicality(crystals), atol=0.2)
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(drawn[0], typicality(crystals, n_others=4, seed=0))


@given(VALUES, PREFERENCES, st.integers(min_value=1, max_value=9))
def test_shares_are_exact_to_a_row(values, preference, mean):
    times = repeats(values, preference=preference, mean=mean)
    shares = (np.array(values) + 0.02) ** preference
    assert times.sum() == mean * len(values)
    assert np.abs(np.cumsum(times) - np.cumsum(shares) / shares.mean() * mean).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preference": -1.0}, "preference must not be negative, and finite: -1.0"),
        ({"preference": float("nan")}, "preference must not be negative, and finite: nan"),
        ({"preference": 1.0, "mean": 0}, "mean must be at least 1: 0"),
    ],
)
def test_wrong_numbers_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        repeats([0.1], **changes)


def test_command_writes_what_is_typical_more_often(tmp_path):
    write_atoms(tmp_path / "all.extxyz", phosphides()[:6])
    out = tmp_path / "more.extxyz"
    asked = ["typical", "--data", str(tmp_path / "all.extxyz"), "--out", str(out)]
    done = CliRunner().invoke(app, [*asked, "--preference", "0.5"])
    assert done.exit_code == 0, done.output
    rows = read_atoms(out)
    assert f"{len(rows)} rows of" in done.output
    alike = [rms_distance(from_atoms(one), from_atoms(phosphides()[5])) for one in rows]
    assert len(rows) == 24
    assert 0 < sum(d is not None and d < 1e-3 for d in alike) < 4
    for wrong in ("x.cif", "no/x.extxyz"):
        done = CliRunner().invoke(app, [*asked[:-1], str(tmp_path / wrong)])
        assert done.exit_code != 0
        assert "--out" in str(done.exception)
