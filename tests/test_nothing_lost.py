"""Runs that are killed, that cannot write, or whose loss breaks, lose nothing."""

import csv
import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from safetensors.torch import load_file

from ase_continuousp import TrainConfig, train
from ase_continuousp.io.replacing import renaming, replacing
from ase_continuousp.training import trainer
from ase_continuousp.training.objectives.score import ScoreMatching
from ase_continuousp.training.run_state import read_record

# From Python 3.12 on, as pytest-xdist has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
SMALL = {"channels": 8, "vector_channels": 4, "n_layers": 2}
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def salts(tmp_path, monkeypatch):
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "salts.extxyz"
    for a in (5.4, 5.5, 5.6, 5.7, 5.8):
        bulk("NaCl", "rocksalt", a=a).write(path, append=True)
    return path


def in_child(function, *arguments):
    """Run a function in a process of its own and return the status that it ended with."""
    process = FORK.Process(target=function, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def _train_until_killed(config, data, out, resume, step, while_writing):
    if while_writing:
        original = Path.write_bytes

        def write_half(path, content):
            if "state.safetensors" in path.name:
                header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
                if json.loads(header["__metadata__"]["record"])["step"] >= step:
                    original(path, content[: len(content) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(path, content)

        Path.write_bytes = write_half
    else:
        updated = trainer.update

        def update_or_die(config, state, *rest):
            if state.step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return updated(config, state, *rest)

        trainer.update = update_or_die
    train(config, data, out, resume=resume)


def test_killed_ten_times_ends_like_a_straight_run(salts, tmp_path):
    config = TrainConfig(
        steps=40, batch_size=3, warmup=5, network=SMALL, checkpoint_every=3, validate_every=2
    )
    train(config, salts, tmp_path / "straight")
    rng = np.random.default_rng(7)
    out, done = tmp_path / "cut", 0
    for number in range(10):
        # At least one update further each time, so that some kills fall between two checkpoints.
        step = int(rng.integers(done, min(done + 7, 39)))
        status = in_child(
            _train_until_killed, config, salts, out, (out / "state.safetensors").is_file(), step,
            number % 3 == 2,
        )  # fmt: skip
        assert status == -signal.SIGKILL
        done = read_record(out)["step"] if (out / "state.safetensors").is_file() else 0
    assert 0 < done < 40
    train(config, salts, out, resume=True)
    for file in ("model.safetensors", "state.safetensors"):
        straight, cut = load_file(tmp_path / "straight" / file), load_file(out / file)
        assert straight.keys() == cut.keys()
        for name, expected in straight.items():
            torch.testing.assert_close(cut[name], expected, rtol=0, atol=0)
    assert logged(out) == logged(tmp_path / "straight")
    assert not [file.name for file in out.iterdir() if file.name.endswith(".half")]


def logged(folder):
    with (folder / "log.csv").open() as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def _train_with_small_files(config, data, out, limit, report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        train(config, data, out, resume=True)
    except OSError as error:
        os.write(report, str(error).encode())


def test_full_disk_keeps_the_last_checkpoint(salts, tmp_path, monkeypatch):
    config = TrainConfig(steps=9, batch_size=2, network=SMALL, checkpoint_every=3)
    out = tmp_path / "out"

    def stop(config, state, *rest):
        if state.step == 5:
            raise KeyboardInterrupt
        return updated(config, state, *rest)

    updated = trainer.update
    monkeypatch.setattr(trainer, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, salts, out)
    monkeypatch.undo()
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    before = (out / "state.safetensors").read_bytes()
    reading, writing = os.pipe()
    in_child(_train_with_small_files, config, salts, out, len(before) // 2, writing)
    os.close(writing)
    message = os.read(reading, 10_000).decode()
    assert message.startswith(f"the run in {out} cannot be written: ")
    assert f"last good checkpoint is {out / 'state.safetensors'} of step 3" in message
    assert (out / "state.safetensors").read_bytes() == before
    assert not [file for file in out.iterdir() if file.suffix == ".tmp"]
    train(config, salts, out, resume=True)
    assert read_record(out)["step"] == 9


def test_folder_that_cannot_be_made_is_named(salts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written: .*No checkpoint has been written yet"):
        train(TrainConfig(steps=1, batch_size=2, network=SMALL), salts, tmp_path / "file" / "out")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_broken_update_names_step_crystals_and_checkpoint(what, salts, tmp_path, monkeypatch):
    config = TrainConfig(steps=9, batch_size=2, network=SMALL, checkpoint_every=3)
    out = tmp_path / "out"
    original = ScoreMatching.accumulate
    calls = iter(range(100))

    def broken(self, network, *arguments):
        losses = original(self, network, *arguments)
        if next(calls) < 4:
            return losses
        if what == "loss":
            return (float("nan"), *losses[1:])
        next(p for p in network.parameters() if p.grad is not None).grad.fill_(float("nan"))
        return losses

    monkeypatch.setattr(ScoreMatching, "accumulate", broken)
    with pytest.raises(ValueError, match=f"the {what} is not finite at step 5") as caught:
        train(config, salts, out)
    message = str(caught.value)
    named = (out / "not_finite.txt").read_text().splitlines()[1:]
    assert len(named) == 2
    for name in named:
        assert name.startswith("row ")
        assert name.endswith(f"of {salts}")
        assert name in message
    assert f"last good checkpoint is {out / 'state.safetensors'} of step 3" in message
    assert all(torch.isfinite(t).all() for t in load_file(out / "state.safetensors").values())


def test_other_data_and_damaged_states_cannot_be_resumed(salts, tmp_path):
    config = TrainConfig(steps=2, batch_size=2, network=SMALL)
    train(config, salts, tmp_path / "out")
    bulk("NaCl", "rocksalt", a=5.9).write(salts, append=True)
    with pytest.raises(ValueError, match="was started with data="):
        train(config, salts, tmp_path / "out", resume=True)
    os.truncate(tmp_path / "out" / "state.safetensors", 100)
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged: "):
        train(config, salts, tmp_path / "out", resume=True)


def test_draft_is_removed_and_the_old_file_kept(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with replacing(path) as draft:
            draft.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [renaming, replacing])
def test_links_keep_pointing_and_what_is_no_file_is_written_to(tmp_path, write):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with write(tmp_path / "link") as draft:
        draft.write_text("new")
        assert (tmp_path / "real").read_text() == "old"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    (tmp_path / "nothing").symlink_to(os.devnull)
    with write(tmp_path / "nothing") as draft:
        draft.write_text("lost")
    assert (tmp_path / "nothing").is_char_device()
    assert {file.name for file in tmp_path.iterdir()} == {"real", "link", "nothing"}


def test_bad_rows_are_skipped_or_refused(salts, tmp_path):
    text = salts.read_text()
    salts.write_text(text + text.splitlines(keepends=True)[0] + "broken\nNa x 0 0\nCl 0 0 0\n")
    config = TrainConfig(steps=1, batch_size=2, network=SMALL)
    with pytest.raises(ValueError, match=r"1 of 6 rows are bad, .*; the first in .* row 5"):
        train(config, salts, tmp_path / "strict", strict=True)
    train(config, salts, tmp_path / "out", val=salts)
    with (tmp_path / "out" / "bad_rows.csv").open() as stream:
        assert [row["row"] for row in csv.DictReader(stream)] == ["5"]
