"""Processes that Lightning starts share a run, and TensorBoard shows its log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ase.build import bulk

from ase_continuousp import train
from ase_continuousp.training.run_log import RunLog
from tests.test_scale_out import CONFIG, check_equal, run

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


def test_lightning_starts_processes_that_train_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning")
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    crystals = tmp_path / "crystals.extxyz"
    for a in (5.4, 5.6, 5.8):
        bulk("NaCl", "rocksalt", a=a).write(crystals, append=True)
        bulk("Cu", a=0.65 * a).write(crystals, append=True)
    train(CONFIG, crystals, tmp_path / "one", val=crystals)
    run([sys.executable], crystals, tmp_path / "two", "lightning")
    check_equal(tmp_path / "one", tmp_path / "two")


def test_tensorboard_shows_what_the_log_holds(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path / "log.csv", ["step", "loss"], 0, tmp_path / "board") as log:
        for step in (1, 2, 3):
            log.write({"step": step, "loss": 1.0 / step})
    with RunLog(tmp_path / "log.csv", ["step", "loss"], 1, tmp_path / "board") as log:
        log.write({"step": 2, "loss": 0.25})
    board = events.EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [(1, 1.0), (2, 0.25)]
