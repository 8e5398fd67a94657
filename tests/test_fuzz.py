"""Damaged files and odd formulas are read or refused in so many words, never worse."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz_targets import Target, targets
from tests.fuzzing import Hang, attack, watched

N_INPUTS = 60  # of each target; python -m tests.fuzzing reads 100,000
NAMES = ("cif", "extxyz", "card", "safetensors", "priors", "formula")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    return {target.name: target for target in targets(folder)}


def test_every_target_is_attacked(made: dict[str, Target]) -> None:
    assert set(made) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_good_inputs_are_read(name: str, made: dict[str, Target], tmp_path: Path) -> None:
    for data in made[name].seeds[-3:]:
        made[name].read(data, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_inputs_are_read_or_refused(
    name: str, made: dict[str, Target], tmp_path: Path
) -> None:
    results = [attack(made[name], number, tmp_path) for number in range(N_INPUTS)]
    wrong = [(k, r) for k, r in enumerate(results) if r not in ("read", "refused")]
    assert not wrong
    assert "refused" in results


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder.parent / "escape").write_text("x"),
        lambda folder: os.rename(folder, folder.parent / "elsewhere"),
        lambda folder: os.system("true"),  # noqa: ARG005
    ],
)
def test_the_watch_sees_harm(harm, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(PermissionError), watched(folder):
        harm(folder)
    with watched(folder):
        (folder / "fine").write_text("x")


def test_the_watch_ends_what_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzzing.SECONDS", 0.05)

    def idle(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    with pytest.raises(Hang), watched(tmp_path):
        idle(5.0)
    assert signal.getsignal(signal.SIGPROF) in (signal.SIG_DFL, signal.SIG_IGN, None)
