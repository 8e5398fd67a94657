"""The judge: invariant, stored whole, and it learns what its training says."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk, make_supercell
from safetensors.torch import load_file

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms, write_atoms
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.judge import JUDGE, Judge
from ase_continuousp.search.refine import Refined, judged
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.building import build_library
from ase_continuousp.training import judging
from ase_continuousp.training.candidate_files import CandidateFiles
from ase_continuousp.training.candidates import Candidates
from ase_continuousp.training.judging import JudgeConfig, train_judge
from tests.systems import perovskite, rattled
from tests.tiny_model import save_tiny_model

CONFIG = JudgeConfig(
    epochs=12, batch_size=4, learning_rate=5e-3, warmup=4, n_candidates=4, n_generated=0
)

# Small cations take rock salt, large ones cesium chloride: what a judge has to find out.
SALTS = ["LiF", "LiCl", "LiBr", "LiI", "NaF", "NaCl", "NaBr", "NaI"]
CHLORIDES = ["CsF", "CsCl", "CsBr", "CsI", "RbF", "RbCl", "RbBr", "RbI"]


@pytest.fixture
def judge():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Judge(ContinuousEnergy(channels=16, vector_channels=16, n_layers=2))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    atoms = [bulk(f, "rocksalt", a=5.5) for f in SALTS]
    atoms += [bulk(f, "cesiumchloride", a=4.0) for f in CHLORIDES]
    write_atoms(folder / "salts.extxyz", atoms)
    elements = sorted({int(z) for a in atoms for z in a.numbers})
    model = save_tiny_model(folder / "model", elements=elements)
    crystals = Crystals.concatenate([from_atoms(a) for a in atoms])
    build_library(crystals, model / "prototypes.npz", n_fit=0)
    return folder


def test_supercells_and_settings_are_judged_alike(judge):
    atoms = rattled(perovskite(), 0.1)
    larger = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    larger.rotate(30, "x", rotate_cell=True)
    one, two = judge(Crystals.concatenate([from_atoms(atoms), from_atoms(larger)]))
    assert one == pytest.approx(two, abs=1e-5)


def test_a_judge_survives_its_file(judge, tmp_path):
    path = tmp_path / JUDGE
    judge.save(path)
    crystals = from_atoms([perovskite(), bulk("Cu")])
    np.testing.assert_allclose(Judge.load(path)(crystals), judge(crystals), atol=5e-3)
    assert [p.name for p in tmp_path.iterdir()] == [JUDGE]


def test_what_is_no_judge_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        Judge.load(tmp_path / JUDGE)
    (tmp_path / JUDGE).write_bytes(b"0" * 64)
    with pytest.raises(ValueError, match="holds no judge"):
        Judge.load(tmp_path / JUDGE)
    model = save_tiny_model(tmp_path / "model")
    shutil.copy(model / "model.safetensors", tmp_path / JUDGE)
    with pytest.raises(ValueError, match="holds no judge: format is None"):
        Judge.load(tmp_path / JUDGE)


def test_training_finds_who_takes_which_structure(material, monkeypatch):
    model = material / "model"
    shutil.rmtree(model / "judging", ignore_errors=True)
    train_judge(model, material / "salts.extxyz", replace(CONFIG, epochs=1))
    [path] = (model / "judging").glob("candidates-*.npz")
    known = Candidates.load(path)
    assert len(known) == 16
    (model / "judging" / "state.safetensors").unlink()
    # Without what the library says, all that tells the candidates apart is what they are: the
    # same with another config would be made anew.
    blind = replace(known, distances=np.zeros(len(known.distances)))
    monkeypatch.setattr(CandidateFiles, "prototypes", lambda *_, **__: blind)
    odds = Judge.load(train_judge(model, material / "salts.extxyz", CONFIG))(known.crystals)
    firsts = [slice(a, b) for a, b in zip(known.first[:-1], known.first[1:], strict=True)]
    right = np.mean([known.is_right[s][np.argmax(odds[s])] for s in firsts])
    assert right > 0.9


def test_interrupted_training_goes_on_to_the_same_judge(material, monkeypatch):
    model = material / "model"
    config = replace(CONFIG, epochs=2, checkpoint_every=3)
    weights = []
    for interrupted in (False, True):
        shutil.rmtree(model / "judging", ignore_errors=True)
        if interrupted:
            update = judging._update

            def killed(choice, state, *rest, update=update):
                if state.step == 5:
                    raise KeyboardInterrupt
                update(choice, state, *rest)

            monkeypatch.setattr(judging, "_update", killed)
            with pytest.raises(KeyboardInterrupt):
                train_judge(model, material / "salts.extxyz", config)
            monkeypatch.undo()
        path = train_judge(model, material / "salts.extxyz", config)
        weights.append(load_file(path))
    for name, straight in weights[0].items():
        assert torch.equal(straight, weights[1][name]), name


def test_generated_crystals_are_learned_from_and_made_once(material, monkeypatch):
    model = material / "model"
    shutil.rmtree(model / "judging", ignore_errors=True)
    config = replace(CONFIG, epochs=1, n_generated=3, n_chains=2)
    path = train_judge(model, material / "salts.extxyz", config)
    [file] = (model / "judging").glob("generated-*.npz")
    some = Candidates.load(file)
    assert len(some) == 3
    assert some.is_generated.sum() == 6
    for begin, end in zip(some.first[:-1], some.first[1:], strict=True):
        assert some.is_generated[end - 2 : end].all()
        assert not some.is_generated[begin : end - 2].any()
        numbers = {tuple(sorted(one.numbers)) for one in some.crystals.select(range(begin, end))}
        assert len(numbers) == 1
    monkeypatch.setattr("ase_continuousp.training.candidate_files.generated_for", None)
    straight = load_file(path)
    (model / "judging" / "state.safetensors").unlink()
    again = load_file(train_judge(model, material / "salts.extxyz", config))
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def test_a_judge_is_gone_on_with(material):
    model = material / "model"
    shutil.rmtree(model / "judging", ignore_errors=True)
    data = material / "salts.extxyz"
    first = load_file(train_judge(model, data, replace(CONFIG, epochs=2)))
    shutil.copy(model / JUDGE, material / "first.safetensors")
    (model / "judging" / "state.safetensors").unlink()
    still = replace(CONFIG, epochs=1, learning_rate=1e-12)
    for start, expected in ((material / "first.safetensors", True), (None, False)):
        path = train_judge(model, data, still, start_from=start)
        (model / "judging" / "state.safetensors").unlink()
        same = [torch.allclose(v, first[n], atol=1e-3) for n, v in load_file(path).items()]
        assert all(same) == expected


def test_other_data_do_not_go_on_with_an_earlier_run(material):
    model = material / "model"
    shutil.rmtree(model / "judging", ignore_errors=True)
    config = replace(CONFIG, epochs=1)
    train_judge(model, material / "salts.extxyz", config)
    write_atoms(material / "fewer.extxyz", [bulk(f, "rocksalt", a=5.5) for f in SALTS])
    with pytest.raises(ValueError, match="was started with candidates="):
        train_judge(model, material / "fewer.extxyz", config)


def test_a_model_without_a_library_has_nothing_to_judge(material, tmp_path):
    model = save_tiny_model(tmp_path / "model")
    with pytest.raises(ValueError, match="must have a prototype library"):
        train_judge(model, material / "salts.extxyz")


def test_what_went_astray_is_not_judged(judge):
    crystals = from_atoms(bulk("Cu"))
    lost = Crystals(crystals.positions * np.nan, crystals.cells, crystals.numbers, np.array([0, 1]))
    made = [
        Refined(c, 0.0, np.zeros((1, 3)), np.zeros((3, 3)), True,
                StartCrystal(crystals, "random"), np.zeros(1))
        for c in (lost, crystals)
    ]  # fmt: skip
    odds = [one.log_odds for one in judged(made, judge)]
    assert odds[0] is None
    assert odds[1] == pytest.approx(float(judge(crystals)[0]))
