"""Training a ranker from files: lists are those of a search, kept, and gone on with."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from ase.build import bulk

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.io import from_atoms, to_atoms, write_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.judge import JUDGE, Judge
from ase_continuousp.model.list_ranker import RANKER, ListNetwork, ListRanker
from ase_continuousp.search.facts import FACTS
from ase_continuousp.search.jobs import model_key
from ase_continuousp.search.parents import with_parents
from ase_continuousp.search.refine import anneal_settings, judged, refine_starts
from ase_continuousp.search.sources import read_priors
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training import ranking_lists
from ase_continuousp.training.ranking import RankerConfig, train_ranker
from ase_continuousp.training.ranking_lists import RankingLists, fresh_lists_of, lists_of
from tests.tiny_model import save_tiny_model

SALTS = ["LiF", "LiCl", "LiBr", "NaF", "NaCl", "NaBr", "KF", "KCl"]
CHLORIDES = ["CsCl", "CsBr", "RbCl", "RbBr"]
CONFIG = RankerConfig(n_lists=8, n_prototypes=3, epochs=2, batch_size=4, channels=8)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranker")
    atoms = [bulk(f, "rocksalt", a=5.5) for f in SALTS]
    atoms += [bulk(f, "cesiumchloride", a=4.0) for f in CHLORIDES]
    write_atoms(folder / "salts.extxyz", atoms)
    write_atoms(folder / "fresh.extxyz", [bulk(f, "rocksalt", a=5.5) for f in ("RbF", "KBr")])
    elements = sorted({int(z) for a in atoms for z in a.numbers})
    model = save_tiny_model(folder / "model", elements=elements)
    build_library(from_atoms(atoms), model / "prototypes.npz", n_fit=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Judge(ContinuousEnergy(channels=16, vector_channels=16, n_layers=2)).save(model / JUDGE)
    return folder


@pytest.fixture
def crystals():
    return from_atoms([bulk("NaCl", "rocksalt", a=5.5), bulk("CsCl", "cesiumchloride", a=4.0)])


def test_lists_tell_what_is_right_and_leave_the_crystal_out(material, crystals):
    lists = lists_of(model_key(load_model(material / "model")), crystals, 4)
    assert len(lists) == 2
    cubic, same = FACTS.index("cubic"), FACTS.index("same composition")
    assert lists.facts[:, cubic].all()
    assert not lists.facts[:, same].any()
    for begin, end in zip(lists.first[:-1], lists.first[1:], strict=True):
        assert lists.is_right[begin:end].sum() == 1
        order = lists.facts[begin:end, FACTS.index("log probability")]
        assert (np.diff(order) <= 1e-6).all()
    fresh = fresh_lists_of(model_key(load_model(material / "model")), crystals, 4)
    assert fresh.facts[:, same].sum() == 2  # as if the library had been made without them


def test_right_is_what_the_matcher_says(material, crystals):
    model = material / "model"
    start = PrototypeStart(PrototypeLibrary.load(model / "prototypes.npz"), read_priors(model))
    lists = fresh_lists_of(model_key(load_model(model)), crystals, 4)
    told = []
    for truth in crystals:
        for one in start.generate_like(truth.numbers, 4, unseen=False):
            told.append(rms_distance(one.crystals, truth) is not None)
    assert lists.is_right.tolist() == told


def test_parents_are_judged_as_they_would_be_alone(material):
    trained = load_model(material / "model")
    energy, judge = ModelEnergy(trained.network), Judge.load(material / "model" / JUDGE)
    start = PrototypeStart(
        material / "model" / "prototypes.npz", read_priors(trained.path), noise=0
    )
    made = start.generate_like([11, 17], 4, unseen=False)
    refined = refine_starts(
        energy, made, anneal_settings(trained), np.random.default_rng(0), with_basins=False
    )
    for one in with_parents(judged(refined, judge), judge, energy):
        parent = one.start.origin.parent
        assert one.parent[0] == pytest.approx(float(judge(parent)[0]), abs=1e-5)
        expected = energy(parent).energy[0] / parent.n_atoms
        assert one.parent[1] == pytest.approx(float(expected), abs=1e-5)


def test_an_interrupted_training_goes_on_to_the_same_ranker(material, monkeypatch):
    model, data = material / "model", material / "salts.extxyz"
    monkeypatch.setattr(ranking_lists, "_AT_ONCE", 3)
    made = []

    def interrupted(path, *rest, make=ranking_lists._make):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path)
        make(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ranking_lists, "_make", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_ranker(model, data, CONFIG, fresh=material / "fresh.extxyz")
    assert not (model / RANKER).exists()
    kept = {path: path.stat().st_mtime_ns for path in made}
    first = ListRanker.load(train_ranker(model, data, CONFIG, fresh=material / "fresh.extxyz"))
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert len(list((model / "ranking").glob("lists-*.npz"))) == 4  # 3 + 3 + 2, and fresh ones
    monkeypatch.setattr(ranking_lists, "_make", None)  # all are there
    again = ListRanker.load(train_ranker(model, data, CONFIG, fresh=material / "fresh.extxyz"))
    weights = first.network.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in again.network.state_dict().items())


def test_evaluations_rank_by_the_ranker(material, tmp_path, crystals):
    folder = tmp_path / "model"
    shutil.copytree(material / "model", folder, ignore=shutil.ignore_patterns("ranking", RANKER))
    data = to_atoms(crystals)
    plain = evaluate(folder, data, k=3, start="prototype", processes=1)
    assert [row.top1_probability for row in plain.per_structure] == [None, None]
    ranker = ListRanker(ListNetwork(FACTS, channels=8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for p in ranker.network.parameters():
            torch.nn.init.normal_(p, std=0.05)
    ranker.save(folder / RANKER)
    ranker = ListRanker.load(folder / RANKER)
    report = evaluate(folder, data, k=3, start="prototype", processes=1)
    for row in report.per_structure:
        truth = crystals.select([row.index])
        lists = fresh_lists_of(model_key(load_model(folder)), truth, 3)
        scores, none = ranker(lists.facts)
        shares = np.exp([*scores, none])
        shares /= shares.sum()
        best = int(np.argmax(scores))
        assert row.top1_probability == pytest.approx(float(shares[best]), rel=1e-4)
        assert (row.top1_rms is not None) == lists.is_right[best]


def test_lists_survive_their_file_and_are_put_together(tmp_path):
    rng = np.random.default_rng(0)
    parts = [
        RankingLists.of([(rng.normal(size=(n, len(FACTS))), [False] * (n - 1) + [True])])
        for n in (2, 3)
    ]
    both = RankingLists.concatenate(parts)
    assert both.first.tolist() == [0, 2, 5]
    assert both.is_right.tolist() == [False, True, False, False, True]
    both.save(tmp_path / "lists.npz")
    stored = RankingLists.load(tmp_path / "lists.npz")
    for name in ("facts", "is_right", "first"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(both, name))


def test_what_is_missing_is_named(material, tmp_path):
    with pytest.raises(ValueError, match="must have a prototype library"):
        train_ranker(save_tiny_model(tmp_path / "model"), material / "salts.extxyz")
    folder = save_tiny_model(tmp_path / "without")
    crystals = Crystals.concatenate([from_atoms(bulk("NaCl", "rocksalt", a=5.5))] * 2)
    build_library(crystals, folder / "prototypes.npz", n_fit=0)
    with pytest.raises(ValueError, match="must have a judge"):
        train_ranker(folder, material / "salts.extxyz")
    with pytest.raises(ValueError, match="is one of the package"):
        train_ranker("mp20", material / "salts.extxyz")
