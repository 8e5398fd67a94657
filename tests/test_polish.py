"""The last small step: what it leaves alone, what it learns, and that nothing of it is lost."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms, write_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.low_rank import LowRankChange
from ase_continuousp.model.polish import POLISH, Polish, save_polish
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling.moves import AnnealSettings
from ase_continuousp.search.jobs import Job, run_job
from ase_continuousp.search.predict import rank_refined, without_repeats
from ase_continuousp.search.rank import EnergyRanking
from ase_continuousp.search.refine import Refined, anneal_settings, polished, refine_starts
from ase_continuousp.search.sources import read_priors
from ase_continuousp.search.symmetry import spacegroup
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.building import build_library
from ase_continuousp.training import polishing
from ase_continuousp.training.displaced import Displaced, way_to
from ase_continuousp.training.judging import train_judge
from ase_continuousp.training.polishing import PolishConfig, train_polish
from tests.systems import perovskite, rattled
from tests.tiny_model import save_tiny_model

CONFIG = PolishConfig(n_candidates=4, steps=40, batch_size=8, learning_rate=5e-3, warmup=5, rank=2)
SHORT = AnnealSettings(n_steps=2, quench_steps=3)
METALS = ["Ti", "V", "Cr", "Mn", "Sn", "Pb", "Ge", "Ru"]


def rutile(metal, u):
    return crystal(
        [metal, "O"], [(0, 0, 0), (u, u, 0)], spacegroup=136, cellpar=[4.6, 4.6, 3.0, 90, 90, 90]
    )


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ContinuousEnergy(channels=16, vector_channels=16, n_layers=2)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("polish")
    atoms = [rutile(m, 0.285 if i % 2 else 0.325) for i, m in enumerate(METALS)]
    write_atoms(folder / "rutile.extxyz", atoms)
    elements = sorted({int(z) for a in atoms for z in a.numbers})
    model = save_tiny_model(folder / "model", elements=elements)
    crystals = Crystals.concatenate([from_atoms(a) for a in atoms])
    build_library(crystals, model / "prototypes.npz", n_fit=0)
    return folder


def moves_of(polish, atoms):
    crystals = from_atoms(atoms)
    return polish(crystals).positions - crystals.positions


def test_moves_turn_with_the_crystal_and_are_those_of_supercells(network):
    polish = Polish(network, 0.1)
    atoms = rattled(perovskite(), 0.2)
    moves = moves_of(polish, atoms)
    assert np.abs(moves).max() > 1e-4
    assert np.abs(moves.mean(axis=0)).max() < 1e-6
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    turn = np.linalg.solve(atoms.cell.array, turned.cell.array)
    np.testing.assert_allclose(moves_of(polish, turned), moves @ turn, atol=1e-5)
    larger = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    which = np.argmin(
        [
            np.linalg.norm(
                (d := (larger.get_scaled_positions() @ larger.cell.array - p)
                 @ np.linalg.inv(atoms.cell.array)) - np.rint(d), axis=1
            )
            for p in atoms.positions
        ],
        axis=0,
    )  # fmt: skip
    np.testing.assert_allclose(moves_of(polish, larger), moves[which], atol=1e-5)


def test_symmetry_stays(network):
    crystals = from_atoms([rutile("Ti", 0.3), bulk("NaCl", "rocksalt", a=5.6)])
    moved = Polish(network, 0.5)(crystals)
    assert np.abs(moved.positions - crystals.positions).max() > 1e-3
    assert [spacegroup(one)[1] for one in moved] == [136, 225]


def test_a_crystal_without_gradient_stays_as_it_is(network, monkeypatch):
    crystals = from_atoms([bulk("Cu"), rattled(perovskite(), 0.1)])
    polish = Polish(network, 0.1)
    found = polish._energy(crystals)
    found.forces[-1] = np.nan
    monkeypatch.setattr(polish, "_energy", lambda _: found)
    moved = polish(crystals)
    assert np.array_equal(moved.positions[1:], crystals.positions[1:])


@pytest.mark.parametrize(("step", "kinds"), [(0.0, "all"), (-1.0, "all"), (0.1, "some")])
def test_what_cannot_be_is_refused(network, step, kinds):
    with pytest.raises(ValueError, match=r"step must be positive|kinds must be one of"):
        Polish(network, step, kinds=kinds)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.001, 0.08))
def test_the_way_back_is_found_in_any_setting(seed, size):
    rng = np.random.default_rng(seed)
    truth = reduce_crystals(from_atoms(rutile("Ti", 0.3)))
    step = rng.normal(size=(truth.n_atoms, 3))
    step *= size * truth.lengths[0] / np.sqrt(np.mean(np.sum((step - step.mean(0)) ** 2, axis=1)))
    shaken = truth.positions + step + rng.normal(size=3)
    basis = [[1, 0, 0], [1, 1, 0], [0, 1, 1]] if seed % 2 else [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    order = rng.permutation(truth.n_atoms)
    cell = np.array(basis) @ truth.cells[0]
    found = reduce_crystals(Crystals.single(shaken[order], cell, truth.numbers[order]))
    crystals, way = way_to(found, [truth])
    left = np.sqrt(np.mean(np.sum(way**2, axis=1))) / truth.lengths[0]
    assert left == pytest.approx(size, rel=1e-6)
    back = Crystals.single(crystals.positions + way, crystals.cells[0], crystals.numbers)
    again = way_to(reduce_crystals(back), [truth])[1]
    assert np.abs(again).max() < 1e-6


def test_the_way_leads_to_the_nearest_and_not_too_far():
    near, far = (reduce_crystals(from_atoms(rutile("Ti", u))) for u in (0.31, 0.28))
    found = reduce_crystals(from_atoms(rutile("Ti", 0.305)))
    way = way_to(found, [far, near])[1]
    np.testing.assert_allclose(way, way_to(found, [near])[1])
    assert way_to(found, []) is None
    assert way_to(found, [reduce_crystals(from_atoms(rutile("Sn", 0.3)))]) is None
    wurtzite = reduce_crystals(from_atoms(bulk("ZnO", "wurtzite", a=3.25, c=5.2)))
    assert way_to(reduce_crystals(from_atoms(bulk("ZnO", "rocksalt", a=4.3) * (1, 1, 2))),
                  [wurtzite]) is None  # fmt: skip


def test_a_change_of_low_rank_begins_as_none_and_has_the_slopes_of_the_chain_rule(network):
    change = LowRankChange(network, 2)
    before = {name: value.clone() for name, value in network.named_parameters()}
    change.fill(network)
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    with torch.no_grad():
        for value in change.parameters():
            value.add_(0.1 * torch.randn_like(value))
    probe = {name: torch.randn_like(value) for name, value in network.named_parameters()}

    def told():
        change.fill(network)
        with torch.no_grad():
            return sum(float((probe[n].double() * v.double()).sum())
                       for n, v in network.named_parameters())  # fmt: skip

    for name, value in network.named_parameters():
        value.grad = probe[name].clone()
    change.pull_back(network)
    for name in ("layers/1/send/weight/left", "embedding/weight/right", "norm/weight/whole"):
        value = dict(change.named_parameters())[name]
        way, h = torch.randn_like(value), 1e-2
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                value.add_(sign * h * way)
            ends.append(told())
            with torch.no_grad():
                value.sub_(sign * h * way)
        slope = float((value.grad * way).sum())
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_a_step_survives_its_file_and_belongs_to_its_weights(tmp_path):
    trained = load_model(save_tiny_model(tmp_path / "model"))
    change = LowRankChange(trained.network, 2)
    with torch.no_grad():
        for value in change.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    path = tmp_path / POLISH
    save_polish(path, change, trained, 0.07, kinds="prototypes")
    network = load_model(tmp_path / "model").network
    change.fill(network)
    crystals = from_atoms(rattled(perovskite(), 0.1))
    read = Polish.load(path, trained, device="cpu")
    assert (read.step, read.kinds) == (0.07, "prototypes")
    expected = Polish(network, 0.07)(crystals).positions - crystals.positions
    np.testing.assert_allclose(read(crystals).positions - crystals.positions, expected, atol=1e-3)
    other = load_model(save_tiny_model(tmp_path / "other", seed=1))
    with pytest.raises(ValueError, match=r"made for weights .* are .* train it anew"):
        Polish.load(path, other, device="cpu")


def test_what_is_no_step_is_refused(tmp_path):
    trained = load_model(save_tiny_model(tmp_path / "model"))
    path = tmp_path / POLISH
    with pytest.raises(FileNotFoundError, match="no such file"):
        Polish.load(path, trained, device="cpu")
    path.write_bytes(b"0" * 64)
    with pytest.raises(ValueError, match="polish: cannot be read"):
        Polish.load(path, trained, device="cpu")
    shutil.copy(tmp_path / "model" / "model.safetensors", path)
    with pytest.raises(ValueError, match="format is None"):
        Polish.load(path, trained, device="cpu")


def test_training_finds_what_the_elements_want(tmp_path):
    trained = load_model(save_tiny_model(tmp_path / "model"))
    made = [(rutile(m, 0.305), rutile(m, 0.285 if i % 2 else 0.325)) for i, m in enumerate(METALS)]
    ways = [way_to(reduce_crystals(from_atoms(a)), [reduce_crystals(from_atoms(b))])
            for a, b in made]  # fmt: skip
    some = Displaced(
        Crystals.concatenate([crystals for crystals, _ in ways]),
        np.concatenate([way for _, way in ways]),
        np.arange(len(ways)),
    )
    folder = tmp_path / "polishing"
    folder.mkdir()
    config = replace(CONFIG, steps=300)
    network, _ = polishing._run(trained, some, config, folder, False)
    polish = Polish(network, config.step)
    left = Displaced(
        some.crystals,
        some.displacements - (polish(some.crystals).positions - some.crystals.positions),
        some.groups,
    )
    assert some.rms.min() > 0.03
    assert left.rms.mean() < 0.3 * some.rms.mean()


def test_interrupted_training_goes_on_to_the_same_step(material, monkeypatch):
    model = material / "model"
    config = replace(CONFIG, steps=12, checkpoint_every=4)
    weights = []
    for interrupted in (False, True):
        shutil.rmtree(model / "polishing", ignore_errors=True)
        if interrupted:
            update = polishing._update

            def killed(network, change, state, *rest, update=update):
                if state.step == 7:
                    raise KeyboardInterrupt
                return update(network, change, state, *rest)

            monkeypatch.setattr(polishing, "_update", killed)
            with pytest.raises(KeyboardInterrupt):
                train_polish(model, material / "rutile.extxyz", config)
            monkeypatch.undo()
        data = material / "rutile.extxyz"
        weights.append(load_file(train_polish(model, data, config, val=data)))
    weights.append(load_file(train_polish(model, data, config, kinds="all", val=data)))
    kinds = Polish.load(model / POLISH, load_model(model), device="cpu").kinds
    (model / POLISH).unlink()
    assert kinds == "all"
    for name, straight in weights[0].items():
        assert torch.equal(straight, weights[1][name]), name
        assert torch.equal(straight, weights[2][name]), name


def trained_briefly(material):
    """Return a model whose folder ``polishing`` holds a finished run, and the settings of that."""
    model, config = material / "model", replace(CONFIG, steps=2)
    shutil.rmtree(model / "polishing", ignore_errors=True)
    train_polish(model, material / "rutile.extxyz", config).unlink()
    return model, config


def test_other_settings_do_not_go_on_with_an_earlier_run(material):
    model, config = trained_briefly(material)
    with pytest.raises(ValueError, match=r"started with rank=2.*delete .*polishing to begin"):
        train_polish(model, material / "rutile.extxyz", replace(config, rank=3))


def test_other_data_do_not_go_on_with_an_earlier_run(material):
    model, config = trained_briefly(material)
    # As many crystals, of which one is another.
    atoms = [rutile(m, 0.285 if i % 2 else 0.325) for i, m in enumerate(METALS)]
    atoms[0] = rutile(METALS[0], 0.32)
    write_atoms(material / "others.extxyz", atoms)
    with pytest.raises(ValueError, match="was started with crystals="):
        train_polish(model, material / "others.extxyz", config)


@pytest.mark.parametrize("found", [True, False])
def test_crystals_far_from_all_prototypes_teach_nothing(material, monkeypatch, found):
    model = material / "model"
    shutil.rmtree(model / "polishing", ignore_errors=True)
    near = polishing.displaced_prototypes

    def far(*arguments):
        some = near(*arguments)
        return replace(some, displacements=some.displacements + 1.0) if found else None

    monkeypatch.setattr(polishing, "displaced_prototypes", far)
    with pytest.raises(ValueError, match="prototypes come near to: none has"):
        train_polish(model, material / "rutile.extxyz", CONFIG)
    assert not (model / POLISH).exists()


def test_a_model_without_a_library_has_nothing_to_learn_from(material, tmp_path):
    model = save_tiny_model(tmp_path / "model")
    with pytest.raises(ValueError, match="must have a prototype library"):
        train_polish(model, material / "rutile.extxyz", CONFIG)


@pytest.mark.parametrize("train", [train_polish, train_judge])
def test_models_of_the_package_are_not_written_to(material, train):
    with pytest.raises(ValueError, match=r"model 'perov5' is one of the package.* copy the folder"):
        train("perov5", material / "rutile.extxyz")
    assert not (load_model("perov5").path / POLISH).exists()


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"rank": 0}, {"farthest": 0.0}, {"learning_rate": float("nan")}]
)
def test_settings_are_checked(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(CONFIG, **change)


@pytest.mark.parametrize("kinds", ["prototypes", "all"])
def test_only_its_kinds_are_moved_and_what_rankings_know_stays(network, kinds):
    energy = ModelEnergy(network)
    polish = Polish(network, 0.3, kinds=kinds)
    built, shaken = from_atoms(rutile("Ti", 0.3)), from_atoms(rattled(rutile("Ti", 0.3), 0.3))
    starts = [
        StartCrystal(built, "prototype", noise=0.0, distance=1.0),
        StartCrystal(shaken, "random", noise=0.1),
    ]
    made = refine_starts(energy, starts, SHORT, np.random.default_rng(0))
    made = [replace(one, log_odds=1.0 + i) for i, one in enumerate(made)]
    ends = polished(made, polish, energy)
    for before, after, moves in zip(made, ends, (True, kinds == "all"), strict=True):
        assert (after.crystals.positions != before.crystals.positions).any() == moves
        assert after.basin_energy_per_atom == before.basin_energy_per_atom
        assert after.log_odds == before.log_odds
        assert after.converged == before.converged
        assert after.found.energy_per_atom == before.energy_per_atom
        np.testing.assert_array_equal(after.found.crystals.positions, before.crystals.positions)
        found = energy(after.crystals)
        assert after.energy == pytest.approx(float(found.energy[0]), abs=1e-5)
        np.testing.assert_allclose(after.forces, found.forces, atol=1e-5)
        assert after.trace[-1] == pytest.approx(after.energy_per_atom, abs=1e-6)


def after_step(place, energy, end):
    """Return a crystal that a search found at one place and whose last step led to another."""
    start = StartCrystal(from_atoms(place), "random", noise=0.1)
    still = np.zeros((len(place), 3)), np.zeros((3, 3)), True
    found = Refined(start.crystals, energy * len(place), *still, start, np.array([energy]))
    return replace(found, crystals=from_atoms(end), energy=0.0, unpolished=found)


def test_searches_merge_and_order_by_what_was_found_and_offer_no_crystal_twice(material):
    priors = read_priors(material / "model")
    place, other, end = (rattled(rutile("Ti", 0.3), size) for size in (0.0, 0.5, 0.05))
    found = [after_step(place, -1.0, end), after_step(other, -2.0, end), after_step(place, -3, end)]
    ranked = rank_refined(found, priors, EnergyRanking())
    assert [one.members for one in ranked] == [(found[2], found[0]), (found[1],)]
    assert [one.score for one in ranked] == [3.0, 2.0]
    [once] = without_repeats(ranked)
    assert once.members == (found[2], found[0], found[1])
    assert once.score == 3.0
    apart = [after_step(place, -1.0, other), after_step(place, -3.0, end)]
    assert len(without_repeats(rank_refined(apart, priors, EnergyRanking()))) == 1
    assert rank_refined(found, priors, EnergyRanking(), window=1.5)[-1].score == 2.0


def test_a_space_group_that_is_kept_is_kept(network):
    energy, polish = ModelEnergy(network), Polish(network, 0.5)
    start = StartCrystal(from_atoms(rutile("Ti", 0.3)), "prototype", noise=0.0, distance=1.0)
    [one] = refine_starts(energy, [start], SHORT, np.random.default_rng(0))
    [end] = polished([one], polish, energy, keeps_symmetry=True)
    assert np.abs(end.crystals.positions - one.crystals.positions).max() > 1e-3
    assert spacegroup(end.crystals, 1e-6)[1] == 136


def test_jobs_polish_what_they_relax(material):
    model = material / "model"
    shutil.rmtree(model / "polishing", ignore_errors=True)
    path = train_polish(model, material / "rutile.extxyz", CONFIG)
    trained = load_model(model)
    start = StartCrystal(from_atoms(rutile("Ti", 0.3)), "prototype", noise=0.0, distance=1.0)
    moved = []
    try:
        for relax in (True, False):
            asked = anneal_settings(trained, n_steps=2, relax=relax)
            [one] = run_job(Job(str(model), "cpu", (start,), asked, (0,)))
            moved.append(np.abs(one.crystals.positions - start.crystals.positions).max() > 1e-6)
    finally:
        path.unlink()
    assert moved == [True, False]
