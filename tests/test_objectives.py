"""Objectives: exact gradients, chains that rank the data lower, buffers that are kept."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ase_continuousp import TrainConfig, evaluate, load_model
from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.model.conditional import AtLevels, ConditionalEnergy
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import AutogradEnergy, ModelEnergy
from ase_continuousp.model.pairs import Graph, TorchPairs
from ase_continuousp.model.paper import PaperEnergy
from ase_continuousp.neighborlist import search
from ase_continuousp.sampling.ancestral import ancestral
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.training.noise import NoiseLaw
from ase_continuousp.training.objectives import score_contrast
from ase_continuousp.training.objectives.cd import ContrastiveDivergence
from ase_continuousp.training.objectives.contrast import mean_energies
from ase_continuousp.training.objectives.dsm import DenoisingScoreMatching
from ase_continuousp.training.objectives.exchanges import exchanges
from ase_continuousp.training.objectives.negatives import random_negative
from ase_continuousp.training.objectives.pcd import PersistentContrastiveDivergence
from ase_continuousp.training.objectives.score import ScoreMatching
from ase_continuousp.training.objectives.score_contrast import ScoreContrast
from tests.systems import system

SMALL = {"channels": 8, "vector_channels": 4, "n_layers": 2}
CRYSTALS = from_atoms([system(n) for n in ("rutile", "rock_salt", "perovskite", "hcp")])


def gradients(network):
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    return torch.cat([g.flatten() for g in found]).clone()


def test_gradient_of_dsm_equals_double_backward():
    torch.manual_seed(0)
    network = ConditionalEnergy(**SMALL).double()
    objective = DenoisingScoreMatching(law=NoiseLaw(lowest=0.1))
    noised = objective.draw(CRYSTALS, np.random.default_rng(0))
    parts = objective.accumulate(network, noised, torch.float64)
    found = gradients(network)

    network.zero_grad()
    network.pairs = TorchPairs()
    c = noised.crystals
    graph = Graph.of(
        c, search(c, network.cutoff_ratio * c.lengths), torch.float64, torch.device("cpu")
    )
    positions = torch.from_numpy(c.positions).requires_grad_()
    strain = torch.zeros((len(c), 3, 3), dtype=torch.float64, requires_grad=True)
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    cells, index = torch.from_numpy(c.cells), graph.crystal_index
    moved = positions + torch.einsum("ax,axy->ay", positions, symmetric[index])
    at_levels = AtLevels(network, torch.from_numpy(noised.levels))
    energies = at_levels.atomic_energies(graph, moved, cells + cells @ symmetric)
    dr, de = torch.autograd.grad(energies.sum(), (positions, strain), create_graph=True)
    r = torch.from_numpy(c.lengths)[index, None] * dr - torch.from_numpy(noised.displacements)
    unit = torch.from_numpy(objective.law.strain_scale / np.sqrt(c.counts))[:, None, None]
    e = unit * de - torch.from_numpy(noised.strains)
    position_loss = r.square().sum(1).mean()
    strain_loss = 0.5 * e.square().sum((1, 2)).mean()
    (position_loss + objective.strain_weight * strain_loss).backward()
    expected_parts = (float(position_loss.detach()), float(strain_loss.detach()))
    assert parts == pytest.approx(expected_parts, rel=1e-9)
    expected = gradients(network)
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.9999


def with_mistakes(**options) -> ScoreContrast:
    """Return the objective after chains from random atoms, which end somewhere."""
    objective = ScoreContrast(chain_steps=2, pairs=8, **options)
    torch.manual_seed(0)
    network = ContinuousEnergy(**SMALL)
    drawn = objective.draw(CRYSTALS, np.random.default_rng(0))
    objective.accumulate(network, drawn, torch.float32)
    return objective


def compared(objective, network, drawn, monkeypatch) -> tuple[float, list[Crystals]]:
    """Return the term of the contrast, and the two batches whose energies it compares."""
    seen: list[Crystals] = []

    def listening(network, contrast, dtype):
        seen.extend([contrast.data, contrast.negatives])
        return mean_energies(network, contrast, dtype)

    monkeypatch.setattr(score_contrast, "mean_energies", listening)
    return objective.accumulate(network, drawn, torch.float64)[2], seen


def test_the_gradient_of_a_contrast_is_that_of_its_loss(monkeypatch):
    objective = with_mistakes(every=10**6, weight=2.5, margin=0.3, softness=0.2)
    torch.manual_seed(1)
    network = ContinuousEnergy(**SMALL).double()
    drawn = objective.draw(CRYSTALS, np.random.default_rng(1))
    ScoreMatching().accumulate(network, drawn.noised, torch.float64)
    of_score = gradients(network)
    network.zero_grad()
    term, batches = compared(objective, network, drawn, monkeypatch)
    found = gradients(network) - of_score

    def loss() -> float:
        low, high = (AutogradEnergy(network, dtype=torch.float64)(c) for c in batches)
        counts = batches[0].counts
        lack = (low.energy - high.energy) / counts + 0.3
        return 2.5 * 0.2 * float(np.log1p(np.exp(lack / 0.2)).mean())

    assert term == pytest.approx(loss(), rel=1e-9)
    parameters = list(network.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    ends = []
    for h in (1e-5, -2e-5):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += h * d
        ends.append(loss())
    along = sum(
        float((g * d.flatten()).sum())
        for g, d in zip(found.split([p.numel() for p in parameters]), direction, strict=True)
    )
    assert along == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_both_sides_of_a_contrast_have_the_same_noise(monkeypatch):
    objective = with_mistakes(every=10**6, blur=0.1)
    objective.pairs = 400
    network = ContinuousEnergy(**SMALL).double()
    drawn = objective.draw(CRYSTALS, np.random.default_rng(1))
    kept = objective.tensors()
    _, batches = compared(objective, network, drawn, monkeypatch)
    sizes = []
    for side, batch in zip(("data", "ends"), batches, strict=True):
        names = ("positions", "cells", "numbers", "offsets")
        exact = Crystals(*(kept[f"{side}.{name}"].numpy() for name in names))
        moves = []
        for one in batch:
            origin = next(c for c in exact if np.array_equal(c.cells, one.cells))  # cells stay
            shift = (one.positions - origin.positions) / one.lengths[0]
            # Of n atoms the mean does not move.
            moves.append(np.sqrt((shift**2).sum() / (3 * max(1, one.n_atoms - 1))))
        sizes.append(np.array(moves))
    many = batches[0].counts > 4  # whose root mean square tells the level
    assert many.sum() > 100
    logs = np.log(np.array(sizes)[:, many] / 0.1)
    assert np.corrcoef(logs)[0, 1] > 0.7
    # Log-uniform between a fifth and one.
    np.testing.assert_allclose(logs.mean(), 0.5 * math.log(0.2), atol=0.15)
    assert math.log(0.2) - 0.9 < logs.min() < math.log(0.2) + 0.4
    assert -0.4 < logs.max() < 0.9


def test_mistakes_come_to_lie_above_the_data():
    objective = with_mistakes(every=10**6)
    torch.manual_seed(2)
    network = ContinuousEnergy(**SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    rng = np.random.default_rng(2)
    terms = []
    for _ in range(60):
        optimizer.zero_grad()
        terms.append(objective.accumulate(network, objective.draw(CRYSTALS, rng), torch.float32)[2])
        optimizer.step()
    assert np.mean(terms[-10:]) < 0.5 * np.mean(terms[:10])


@pytest.mark.parametrize(
    ("is_right", "n_broken", "expected"),
    # Chains run in every other pass; of four random crystals none is right; six are kept.
    [(True, 0, [0] * 5), (False, 0, [4, 4, 6, 6, 6]), (False, 3, [1, 1, 2, 2, 3])],
)
def test_ends_that_are_wrong_and_sound_are_kept(monkeypatch, is_right, n_broken, expected):
    def to_the_end(_energy, starts, settings, _rng):
        assert starts.counts.tolist() == CRYSTALS.counts.tolist()
        assert settings.n_steps == 5
        assert np.allclose(starts.volumes, CRYSTALS.volumes)
        end = CRYSTALS if is_right else starts
        finite = np.ones(len(end), dtype=bool)
        finite[:n_broken] = False
        evaluation = type("Evaluation", (), {"is_finite": finite})
        return type("Result", (), {"crystals": end, "evaluation": evaluation})

    monkeypatch.setattr(score_contrast, "anneal", to_the_end)
    objective = ScoreContrast(chain_steps=5, every=2, capacity=6)
    network, rng = ContinuousEnergy(**SMALL), np.random.default_rng(0)
    sizes = []
    for _ in range(5):
        objective.accumulate(network, objective.draw(CRYSTALS, rng), torch.float32)
        sizes.append(len(objective.tensors().get("ends.cells", ())))
    assert sizes == expected


@pytest.mark.parametrize(("exchange", "expected"), [(False, 1), (True, 0)])
def test_what_only_an_exchange_of_elements_makes_right_can_be_left_out(
    monkeypatch, exchange, expected
):
    cell, sites = 4.0 * np.eye(3), 2.0 * np.array([[0, 0, 0], [1, 1, 1], [1, 1, 0]])
    calcium_outside = Crystals.single(sites, cell, [20, 22, 8])
    titanium_outside = Crystals.single(sites, cell, [22, 20, 8])

    def to_the_end(_energy, _starts, _settings, _rng):
        evaluation = type("Evaluation", (), {"is_finite": np.array([True])})
        return type("Result", (), {"crystals": titanium_outside, "evaluation": evaluation})

    monkeypatch.setattr(score_contrast, "anneal", to_the_end)
    objective = ScoreContrast(chain_steps=5, exchange=exchange)
    drawn = objective.draw(calcium_outside, np.random.default_rng(0))
    objective.accumulate(ContinuousEnergy(**SMALL), drawn, torch.float32)
    assert len(objective.tensors().get("ends.cells", ())) == expected


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_exchanges_are_all_arrangements_of_elements_with_as_many_atoms(counts):
    numbers = np.repeat(np.arange(1, len(counts) + 1), counts)
    crystal = Crystals.single(np.arange(3.0 * len(numbers)).reshape(-1, 3), np.eye(3), numbers)
    made = [one.numbers.tolist() for one in exchanges(crystal)]
    assert made[0] == numbers.tolist()
    names = set(permutations(range(1, len(counts) + 1)))
    renamed = {tuple(np.array(name)[numbers - 1].tolist()) for name in names}
    composition = sorted(numbers.tolist())
    assert sorted(map(tuple, made)) == sorted(r for r in renamed if sorted(r) == composition)


@pytest.mark.parametrize("n", [1, 3])
def test_chains_begin_at_the_density_of_the_data_in_other_cells(n):
    objective = ScoreContrast()
    starts = objective.draw(CRYSTALS.select(range(n)), np.random.default_rng(0)).starts
    np.testing.assert_allclose(starts.volumes, CRYSTALS.volumes[:n])
    for start, one in zip(starts, CRYSTALS, strict=False):
        np.testing.assert_array_equal(np.sort(start.numbers), np.sort(one.numbers))
        metrics = [np.sort(np.linalg.eigvalsh(c.cells[0] @ c.cells[0].T)) for c in (start, one)]
        assert np.abs(metrics[0] / metrics[1] - 1).max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0.0}, "weight must be positive and finite: 0.0"),
        ({"blur": -0.1}, "blur must be positive and finite: -0.1"),
        ({"apart": float("inf")}, "apart must be positive and finite: inf"),
        ({"pairs": 2.5}, "pairs must be a positive integer: 2.5"),
        ({"every": 0}, "every must be a positive integer: 0"),
    ],
)
def test_bad_settings_of_a_contrast_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ScoreContrast(**options)


def test_without_a_kept_buffer_a_contrast_begins_afresh():
    objective = with_mistakes()
    objective.load({})
    assert list(objective.tensors()) == ["drawn"]
    assert objective.tensors()["drawn"] == 0


def test_a_model_of_a_contrast_is_validated_and_sampled_by_its_card(trained):
    config = TrainConfig(
        steps=2,
        batch_size=2,
        network=SMALL,
        objective="score-contrast",
        objective_options={"chain_steps": 2, "saturation": 0.05},
        validate_every=1,
    )
    folder = trained(config, "out", val=True)
    rows = (folder / "log.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert float(last["val_contrast"]) > 0
    assert load_model(folder).card["anneal"]["saturation"] == 0.05


def test_the_level_changes_a_conditional_energy_and_a_model_keeps_it(trained):
    config = TrainConfig(steps=3, batch_size=2, network=SMALL, objective="dsm")
    model = load_model(trained(config, "out", val=True))
    energy = model.energy()
    crystal = CRYSTALS.select([1])
    found = [
        ModelEnergy(AtLevels(energy.network, torch.tensor([s], dtype=torch.float64)))(crystal)
        for s in (0.05, 0.3)
    ]
    assert energy(crystal).energy[0] == pytest.approx(found[0].energy[0], rel=1e-6)
    assert found[0].energy[0] != found[1].energy[0]
    report = evaluate(model, [bulk("NaCl", "rocksalt", a=5.5)], processes=1, n_steps=4)
    assert report.n == 1


class _Perfect(torch.nn.Module):
    """Stands for a network that knows the one crystal it was trained on: simple harmonic wells."""

    def __init__(self, truth):
        super().__init__()
        self.truth, self.hyperparameters = truth, {"resting_level": 0.05}
        self.cutoff_ratio = 0.1

    def atomic_energies(self, graph, positions, cells, levels=None):
        # With one level U(C; s) = |x|²/2s ℓ² has ℓ ∂U/∂x = x/(s ℓ), the perturbation.
        levels = torch.full((len(cells),), 0.05) if levels is None else levels
        away = positions - torch.from_numpy(self.truth.positions)
        away = away - torch.mean(away.view(len(cells), -1, 3), dim=1).repeat_interleave(
            len(away) // len(cells), dim=0
        )
        lengths = torch.from_numpy(self.truth.lengths)[graph.crystal_index]
        return 0.5 * away.square().sum(1) / (levels[graph.crystal_index] * lengths**2)


def test_ancestral_steps_lead_to_the_crystal_that_the_energy_knows():
    truth = Crystals.concatenate([from_atoms(bulk("NaCl", "rocksalt", a=5.6))] * 8)
    rng = np.random.default_rng(0)
    start = Crystals(
        truth.positions + 0.5 * rng.standard_normal(truth.positions.shape),
        truth.cells,
        truth.numbers,
        truth.offsets,
    )
    energy = ModelEnergy(_Perfect(truth), dtype=torch.float64)
    settings = AnnealSettings(
        n_steps=100, level=1.0, lowest_level=0.02, largest=2.0, quench_steps=0, strain_scale=1e-6
    )
    end = ancestral(energy, start, settings, rng).crystals
    # The chlorine atoms, seen from sodium: what is left is the lowest level.
    moved, true = (c.positions[1::2] - c.positions[::2] for c in (end, truth))
    off = (moved - true) @ np.linalg.inv(truth.cells[0])
    off -= np.round(off)
    size = np.linalg.norm(off @ truth.cells[0], axis=1).mean() / truth.lengths[0]
    assert size < 3 * 0.02 * math.sqrt(2)


def test_negatives_have_the_formula_in_a_geometric_number_of_units():
    rng = np.random.default_rng(0)
    made = [random_negative([22, 8, 22, 8, 8, 8], rng) for _ in range(4000)]
    units = np.array([len(m.numbers) // 3 for m in made])
    assert all(sorted(m.numbers)[-u:] == [22] * u for m, u in zip(made, units, strict=True))
    for k in (1, 2, 3):
        share = 0.5**k
        error = math.sqrt(share * (1 - share) / len(made))
        assert np.mean(units == k) == pytest.approx(share, abs=4 * error)
    assert all(m.counts[0] / m.volumes[0] == pytest.approx(0.05) for m in made)
    fractional = np.concatenate([m.fractional for m in made])
    assert np.histogram(fractional, 4, (0, 1))[0] / fractional.size == pytest.approx(
        [0.25] * 4, abs=0.01
    )


def test_gradient_of_contrastive_divergence_is_that_of_its_formula():
    torch.manual_seed(0)
    network = PaperEnergy(channels=6, n_dense=1).double().eval()
    objective = ContrastiveDivergence(chain_steps=0)
    drawn = objective.draw(CRYSTALS, np.random.default_rng(0))
    parts = objective.accumulate(network, drawn, torch.float64)
    assert all(p.requires_grad for p in network.parameters())

    def loss():
        """Evaluate crystals one by one: without any step a sample is its reduced start."""
        from ase_continuousp.niggli import reduce_crystals

        energy = ModelEnergy(network, dtype=torch.float64)
        low = np.array([energy(c).energy[0] / c.n_atoms for c in CRYSTALS])
        high = np.array([energy(c).energy[0] / c.n_atoms for c in reduce_crystals(drawn.starts)])
        return (low - high).mean(), 0.1 * ((low**2).mean() + (high**2).mean())

    assert parts == pytest.approx(loss(), rel=1e-8)
    parameter = network.layers[0].filter.bias
    analytic = float(parameter.grad[3])
    sums = []
    for shift in (1e-5, -2e-5):
        with torch.no_grad():
            parameter[3] += shift
        sums.append(sum(loss()))
    assert analytic == pytest.approx((sums[0] - sums[1]) / 2e-5, rel=1e-4)


def test_contrastive_divergence_separates_data_from_samples(trained):
    config = TrainConfig.preset(
        "paper",
        steps=12,
        batch_size=4,
        learning_rate=3e-3,
        network={"channels": 8, "n_layers": 1, "n_dense": 1},
        objective_options={"chain_steps": 3},
    )
    folder = trained(config, "out", val=True)
    lines = (folder / "log.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert float(rows[-1]["gap"]) < 0.0
    model = load_model(folder)
    assert model.card["kind"] == "paper"
    assert model.card["sampler"] == "per crystal"
    found = evaluate(model, [bulk("NaCl", "rocksalt", a=5.5)], processes=1, n_steps=2)
    assert found.n == 1


def test_chains_of_the_replay_buffer_go_on_and_are_kept():
    objective = PersistentContrastiveDivergence(capacity=4, restart=0.0, chain_steps=2)
    network = PaperEnergy(channels=6, n_layers=1, n_dense=1)
    rng = np.random.default_rng(0)
    first = objective.draw(CRYSTALS, rng)
    objective.accumulate(network, first, torch.float32)
    second = objective.draw(CRYSTALS, rng)
    kept = objective.tensors()
    # They begin where the others ended.
    np.testing.assert_array_equal(kept["positions"].numpy(), second.chains.positions)
    assert np.abs(second.chains.positions - first.chains.positions).max() > 1e-3
    again = PersistentContrastiveDivergence(capacity=4, restart=0.0, chain_steps=2)
    again.load(kept)
    third = again.draw(CRYSTALS, np.random.default_rng(1))
    np.testing.assert_array_equal(third.chains.positions, second.chains.positions)
    always = PersistentContrastiveDivergence(capacity=4, restart=1.0)
    always.load(kept)
    fresh = always.draw(CRYSTALS, np.random.default_rng(1))
    assert not np.array_equal(fresh.chains.positions, second.chains.positions)


@pytest.mark.parametrize(
    ("objective", "options", "kept"),
    [
        ("pcd", {"capacity": 3, "chain_steps": 2}, "objective.positions"),
        (
            "score-contrast",
            {"capacity": 3, "chain_steps": 2, "every": 3, "pairs": 2},
            "objective.ends.positions",
        ),
    ],
)
def test_a_run_with_a_buffer_resumes_to_the_same_weights(trained, objective, options, kept):
    shared = {"batch_size": 2, "network": SMALL, "objective": objective, "checkpoint_every": 2}
    shared |= {"objective_options": options, "decay": "constant"}
    folder = trained(TrainConfig(**shared, steps=4), "straight")
    straight = load_file(folder / "state.safetensors")

    from ase_continuousp.training import trainer

    real, calls = trainer.update, [0]

    def stopping(*arguments):
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    trainer.update = stopping
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(TrainConfig(**shared, steps=4), "cut")
    finally:
        trainer.update = real
    folder = trained(TrainConfig(**shared, steps=4), "cut", resume=True)
    cut = load_file(folder / "state.safetensors")
    assert kept in straight
    for name, expected in straight.items():
        assert (cut[name] == expected).all(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "score", "energy": "paper"}, "needs energy 'continuous'"),
        ({"decay": "steps"}, "decay must be one of .*'steps'"),
        ({"micro_batch": 0}, "micro_batch must be at least 1: 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)


def test_an_option_that_an_objective_does_not_have_is_named(trained):
    config = TrainConfig(objective="dsm", objective_options={"chain_steps": 3})
    with pytest.raises(ValueError, match=r"objective_options: of 'dsm': .*chain_steps"):
        trained(config, "out")


@pytest.mark.parametrize("saturation", [0.02, 0.1, 0.3])
def test_the_quench_fits_the_funnel_that_was_trained(saturation: float) -> None:
    """From near its bottom a first step goes most of the way and not beyond, however narrow."""
    objective = ScoreMatching(saturation=saturation)
    settings = AnnealSettings(**objective.card.get("anneal", {}))
    away = np.array([1e-3, 0.1, 1.0]) * saturation
    left = away - settings.quench_step * objective.target(away)
    assert (left > 0).all()
    assert left[0] < 0.25 * away[0]
    assert settings.saturation == saturation
