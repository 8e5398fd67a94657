"""The mean of models: what it is of, what it keeps, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ase_continuousp.cli.main import app
from ase_continuousp.io import from_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.judge import JUDGE
from ase_continuousp.training.averaging import average_models
from tests.systems import perovskite, rattled
from tests.tiny_model import save_tiny_model


@pytest.fixture
def models(tmp_path):
    made = [save_tiny_model(tmp_path / f"m{seed}", seed=seed, measured={"match_rate": 1.0},
                            anneal={"n_steps": 7}) for seed in (0, 1)]  # fmt: skip
    (made[0] / JUDGE).write_bytes(b"of other energies")
    return made


def test_weights_are_the_mean(models, tmp_path):
    mean = load_model(average_models(models, tmp_path / "mean"))
    states = [load_model(m).network.state_dict() for m in models]
    for name, value in mean.network.state_dict().items():
        torch.testing.assert_close(value, (states[0][name] + states[1][name]) / 2)
    assert mean.card["anneal"] == {"n_steps": 7}
    assert [one["model"] for one in mean.card["training"]["mean_of"]] == ["m0", "m1"]
    assert "measured" not in mean.card
    assert sorted(p.name for p in mean.path.iterdir()) == [
        "card.json", "model.safetensors", "priors.json"
    ]  # fmt: skip


def test_the_mean_of_a_model_with_itself_is_the_model(models, tmp_path):
    mean = load_model(average_models([models[0]] * 3, tmp_path / "mean"))
    crystal = from_atoms(rattled(perovskite(), 0.1))
    ends = [m.energy(device="cpu")(crystal) for m in (mean, load_model(models[0]))]
    np.testing.assert_allclose(ends[0].energy, ends[1].energy, rtol=1e-6)


def test_what_cannot_be_averaged_is_refused(models, tmp_path):
    with pytest.raises(ValueError, match="two or more: 1"):
        average_models(models[:1], tmp_path / "mean")
    other = save_tiny_model(tmp_path / "other", network={"channels": 16})
    with pytest.raises(ValueError, match="same hyperparameters: m0, other"):
        average_models([models[0], other], tmp_path / "mean")
    fewer = save_tiny_model(tmp_path / "fewer", elements=[22, 38, 8])
    with pytest.raises(ValueError, match="same elements: m0, fewer"):
        average_models([models[0], fewer], tmp_path / "mean")
    with pytest.raises(ValueError, match="out must be a new folder"):
        average_models(models, models[1])
    assert not (tmp_path / "mean").exists()


def test_on_the_command_line(models, tmp_path):
    arguments = ["average", "--out", str(tmp_path / "mean")]
    for model in models:
        arguments += ["--model", str(model)]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert load_model(tmp_path / "mean").hash not in {load_model(m).hash for m in models}
