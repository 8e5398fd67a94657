"""Noise, the objective's gradient, and runs that go on as if never interrupted."""

import csv
import signal

import numpy as np
import pytest
import torch
from ase.build import bulk
from safetensors.torch import load_file

from ase_continuousp import TrainConfig, load_model, train
from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.pairs import Graph, TorchPairs
from ase_continuousp.neighborlist import search
from ase_continuousp.training.data import read_crystals
from ase_continuousp.training.interrupts import held_interrupts
from ase_continuousp.training.noise import NoiseLaw, perturb
from ase_continuousp.training.objectives.score import ScoreMatching
from tests.systems import system

SMALL = {"channels": 8, "vector_channels": 4, "n_layers": 2}
CRYSTALS = from_atoms([system(n) for n in ("rutile", "rock_salt", "perovskite", "one_atom", "hcp")])


@pytest.fixture
def salts(tmp_path, monkeypatch):
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "salts.extxyz"
    for a in (5.4, 5.5, 5.6, 5.7):
        bulk("NaCl", "rocksalt", a=a).write(path, append=True)
    return path


def test_small_noise_is_handed_back_as_it_was_drawn():
    noised = perturb(CRYSTALS, np.full(5, 1e-3), 0.2, np.random.default_rng(0))
    strained = CRYSTALS.with_fractional(CRYSTALS.fractional, noised.crystals.cells)
    moved = (noised.crystals.positions - strained.positions) / 1e-3
    expected = moved / strained.lengths[CRYSTALS.crystal_index, None]
    np.testing.assert_allclose(noised.displacements, expected, atol=1e-9)
    stretch = np.linalg.solve(CRYSTALS.cells, noised.crystals.cells)
    widths = 2e-4 / np.sqrt(CRYSTALS.counts)[:, None, None]
    np.testing.assert_allclose(stretch, np.eye(3) + widths * noised.strains, atol=1e-6)


def test_expected_displacement_is_the_score_of_the_wrapped_law():
    """−s ℓ ∇ log Σ_n exp(−|x + nL|²/2s²ℓ²), by central differences over one free atom."""
    crystal = from_atoms(system("cesium_chloride"))
    level = 0.6
    noised = perturb(crystal, np.array([level]), 1e-9, np.random.default_rng(4))
    width = level * crystal.lengths[0]
    steps = noised.crystals.positions - crystal.positions

    def log_law(x):
        images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3) @ crystal.cells[0]
        return np.log(np.exp(-0.5 * np.sum((x + images) ** 2, axis=1) / width**2).sum())

    score = np.zeros((2, 3))
    for a in range(2):
        for x in range(3):
            h = np.eye(3)[x] * 1e-5
            score[a, x] = (log_law(steps[a] + h) - log_law(steps[a] - h)) / 2e-5
    expected = -width * (score - score.mean(axis=0))
    np.testing.assert_allclose(noised.displacements, expected, atol=1e-6)


def test_strain_noise_is_isotropic():
    many = Crystals.concatenate([CRYSTALS.select([3])] * 20_000)
    strains = perturb(many, np.full(20_000, 0.1), 0.2, np.random.default_rng(0)).strains
    squares = (strains**2).mean(axis=0)
    expected = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    errors = np.sqrt(2.0 / 20_000) * expected
    assert np.all(np.abs(squares - expected) < 4 * errors)


def test_levels_follow_their_law():
    levels = NoiseLaw(lowest=1e-9, highest=1e9).levels(20_000, np.random.default_rng(0))
    assert np.log(levels).mean() == pytest.approx(np.log(0.22), abs=4 * 0.8 / np.sqrt(20_000))
    assert np.log(levels).std() == pytest.approx(0.8, abs=4 * 0.8 / np.sqrt(40_000))


def double_backward(network, objective, noised):
    """Return loss and gradient by differentiating the derivatives, in plain torch."""
    c = noised.crystals
    network.pairs = TorchPairs()
    neighbors = search(c, network.cutoff_ratio * c.lengths)
    graph = Graph.of(c, neighbors, torch.float64, torch.device("cpu"))
    positions = torch.from_numpy(c.positions).requires_grad_()
    strain = torch.zeros((len(c), 3, 3), dtype=torch.float64, requires_grad=True)
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    cells, index = torch.from_numpy(c.cells), graph.crystal_index
    moved = positions + torch.einsum("ax,axy->ay", positions, symmetric[index])
    energies = network.atomic_energies(graph, moved, cells + cells @ symmetric)
    dr, de = torch.autograd.grad(energies.sum(), (positions, strain), create_graph=True)
    h = torch.from_numpy(noised.levels / (noised.levels + objective.saturation))
    lengths = torch.from_numpy(c.lengths)[index, None]
    r = lengths * dr - h[index, None] * torch.from_numpy(noised.displacements)
    scale = torch.from_numpy(objective.law.strain_scale / np.sqrt(c.counts))[:, None, None]
    e = scale * de - h[:, None, None] * torch.from_numpy(noised.strains)
    d2 = objective.robustness**2
    loss = (2 * d2 * ((1 + r.square().sum(1) / d2).sqrt() - 1)).mean()
    loss = loss + 0.5 * objective.strain_weight * e.square().sum((1, 2)).mean()
    loss.backward()
    return float(loss.detach()), gradients(network)


def gradients(network):
    # The last bias shifts the energy alone: no derivative, no gradient.
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    return torch.cat([g.flatten() for g in found]).clone()


def test_central_difference_gradient_equals_double_backward():
    torch.manual_seed(0)
    network = ContinuousEnergy(**SMALL).double()
    objective = ScoreMatching(robustness=1.0)
    noised = objective.draw(CRYSTALS, np.random.default_rng(0))
    parts = objective.accumulate(network, noised, torch.float64)
    found = gradients(network)
    network.zero_grad()
    loss, expected = double_backward(network, objective, noised)
    assert parts[0] + objective.strain_weight * parts[1] == pytest.approx(loss, rel=1e-9)
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.9999
    assert found.norm() == pytest.approx(float(expected.norm()), rel=2e-3)


def test_training_lowers_the_loss_and_writes_a_model(salts, tmp_path):
    config = TrainConfig(
        steps=150, batch_size=4, learning_rate=5e-3, warmup=10, network=SMALL, validate_every=50
    )
    model = load_model(train(config, salts, tmp_path / "out", val=salts))
    with (tmp_path / "out" / "log.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["val_position_loss"]]
    losses = [float(r["val_position_loss"]) + float(r["val_strain_loss"]) for r in rows]
    assert losses[-1] < 0.9 * losses[0]
    assert model.elements == (11, 17)
    assert model.card["training"]["steps_done"] == 150


def assert_same_weights(one, other):
    expected, found = (load_file(run / "model.safetensors") for run in (one, other))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_interrupted_run_resumes_to_the_same_weights(salts, tmp_path, monkeypatch):
    config = TrainConfig(steps=30, batch_size=3, warmup=5, network=SMALL, checkpoint_every=10)
    train(config, salts, tmp_path / "straight")

    calls = iter(range(1000))
    original = ScoreMatching.accumulate

    def interrupted(self, *arguments):
        if next(calls) == 17:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(ScoreMatching, "accumulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, salts, tmp_path / "cut")
    train(config, salts, tmp_path / "cut", resume=True)
    assert_same_weights(tmp_path / "straight", tmp_path / "cut")


@pytest.fixture
def ctrl_c():
    # Jobs of a shell that run in the background ignore it, and so do these tests if run so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_the_updates_that_are_done(salts, tmp_path, monkeypatch):
    config = TrainConfig(steps=12, batch_size=3, warmup=5, network=SMALL, checkpoint_every=10)
    train(config, salts, tmp_path / "straight")
    calls = iter(range(1000))
    original = ScoreMatching.accumulate

    def interrupted(self, *arguments):
        if next(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(ScoreMatching, "accumulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, salts, tmp_path / "cut")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert load_model(tmp_path / "cut").card["training"]["steps_done"] == 7
    train(config, salts, tmp_path / "cut", resume=True)
    assert_same_weights(tmp_path / "straight", tmp_path / "cut")


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_acts_at_once():
    with held_interrupts() as was_pressed:
        signal.raise_signal(signal.SIGINT)
        assert was_pressed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_can_begin_with_the_weights_of_a_model(salts, tmp_path):
    small = {"channels": 16, "vector_channels": 16, "n_layers": 2}
    first = train(TrainConfig(steps=3, batch_size=2, network=small), salts, tmp_path / "small")
    config = TrainConfig(steps=1, batch_size=2, learning_rate=1e-12, network=small)
    again = train(config, salts, tmp_path / "again", start_from=first)
    old, new = load_model(first), load_model(again)
    for name, value in old.network.named_parameters():
        torch.testing.assert_close(new.network.get_parameter(name), value, rtol=0, atol=1e-6)
    assert new.card["training"]["started_from"] == "small"
    config = TrainConfig(steps=1, batch_size=2, network=small | {"cutoff_ratio": 1.5})
    with pytest.raises(ValueError, match=r"has cutoff_ratio=1\.8, the config 1\.5"):
        train(config, salts, tmp_path / "other", start_from=first)


def test_what_cannot_be_resumed_is_refused(salts, tmp_path):
    config = TrainConfig(steps=2, batch_size=2, network=SMALL)
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(config, salts, tmp_path / "out", resume=True)
    train(config, salts, tmp_path / "out")
    with pytest.raises(ValueError, match="already holds a run"):
        train(config, salts, tmp_path / "out")
    other = TrainConfig(steps=3, batch_size=2, network=SMALL)
    with pytest.raises(ValueError, match="started with steps=2, not 3"):
        train(other, salts, tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1: 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive: -1.0"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\): 1.0"),
        ({"precision": "fp8"}, "precision must be one of .*'fp8'"),
        ({"objective": "magic"}, "objective must be one of .*'magic'"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"mp20.*perov5.*'perov6'"):
        TrainConfig.preset("perov6")


def test_same_crystals_from_csv_and_database_and_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    from ase.db import connect

    atoms = [system(n) for n in ("rutile", "perovskite")]
    with connect(tmp_path / "two.db") as db:
        for a in atoms:
            db.write(a)
    texts = []
    for a in atoms:
        a.write(tmp_path / "one.cif")
        texts.append((tmp_path / "one.cif").read_text())
    with (tmp_path / "two.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["cif"])
        writer.writeheader()
        writer.writerows({"cif": t} for t in texts)
    first = read_crystals(tmp_path / "two.csv")
    again = read_crystals(tmp_path / "two.csv")
    stored = read_crystals(tmp_path / "two.db")
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.numbers, stored.numbers)
    np.testing.assert_allclose(first.fractional % 1, stored.fractional % 1, atol=1e-6)
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 2


def test_bad_rows_and_missing_columns_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "wrong.csv").write_text("structure\nx\n")
    with pytest.raises(ValueError, match="column 'cif'"):
        read_crystals(tmp_path / "wrong.csv")
    (tmp_path / "broken.csv").write_text("cif\nnot a cif\n")
    with pytest.raises(ValueError, match="row 0"):
        read_crystals(tmp_path / "broken.csv")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_crystals(tmp_path / "absent.csv")
