"""Examples run and end where they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_copper_is_annealed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(EXAMPLES / "03_anneal_emt.py"))
    assert "Cu13" in capsys.readouterr().out
    assert found["done"]
    # The crystal is face-centered cubic copper again.
    best = found["best"]
    assert best.get_potential_energy() / len(best) == pytest.approx(-0.007, abs=2e-3)
    assert best.get_volume() / len(best) == pytest.approx(11.57, abs=0.1)


def test_a_model_of_ones_own_is_trained_and_generates(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    example = runpy.run_path(str(EXAMPLES / "02_train_your_own.py"))
    rate = example["main"](["--out", str(tmp_path / "mine"), "--steps", "350"])
    assert "crystals kept out" in capsys.readouterr().out
    assert rate > 0.6
    assert (tmp_path / "mine" / "model" / "card.json").is_file()
