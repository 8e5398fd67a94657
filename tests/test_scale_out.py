"""Two processes that share every batch train as one does."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from safetensors.torch import load_file

from ase_continuousp import TrainConfig, train
from ase_continuousp.training.lightning_launch import launch
from ase_continuousp.training.run_log import RunLog

CONFIG = TrainConfig(
    steps=12,
    batch_size=5,  # not even: the processes have three crystals and two
    learning_rate=5e-3,
    warmup=3,
    precision="fp64",
    network={"channels": 8, "vector_channels": 4, "n_layers": 2},
    validate_every=2,
    checkpoint_every=5,
)
SCRIPT = """
import sys
from tests.test_scale_out import CONFIG
from ase_continuousp import train
if sys.argv[3:]:
    from ase_continuousp.training.lightning_launch import launch
    launch(2)
train(CONFIG, sys.argv[1], sys.argv[2], val=sys.argv[1])
"""


@pytest.fixture
def crystals(tmp_path, monkeypatch):
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "crystals.extxyz"
    for a in (5.4, 5.6, 5.8):
        bulk("NaCl", "rocksalt", a=a).write(path, append=True)
        bulk("Cu", a=0.65 * a).write(path, append=True)
    return path


def run(launcher, crystals, out, *arguments):
    script = out.parent / "run.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [*launcher, script, crystals, out, *arguments],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr[-2000:]


def check_equal(one, two):
    logs = []
    for folder in (one, two):
        with (folder / "log.csv").open() as stream:
            logs.append(list(csv.DictReader(stream)))
    assert [row["step"] for row in logs[1]] == [row["step"] for row in logs[0]]
    assert len(logs[0]) == 6
    for name in set(logs[0][0]) - {"step", "seconds"}:
        columns = [[float(row[name]) for row in log] for log in logs]
        np.testing.assert_allclose(columns[1], columns[0], rtol=1e-6, err_msg=name)
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-4, atol=1e-6)


def test_two_processes_train_as_one(crystals, tmp_path):
    train(CONFIG, crystals, tmp_path / "one", val=crystals)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run([*torchrun, "--standalone"], crystals, tmp_path / "two")
    check_equal(tmp_path / "one", tmp_path / "two")


def test_lightning_that_is_absent_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    with pytest.raises(ImportError, match=r"ase-continuousp\[train\]'?, or use torchrun"):
        launch(2)


def test_tensorboard_that_is_absent_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"ase-continuousp\[train\]"):
        RunLog(tmp_path / "log.csv", ["step", "loss"], 0, tmp_path / "board")


def test_a_cut_line_of_the_log_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n10,0.5\n20,0.4\n30,0.")
    RunLog(path, ["step", "loss"], 40)
    assert path.read_text().split() == ["step,loss", "10,0.5", "20,0.4"]
