"""Ranking by a list: order and number do not matter, training finds the law, files are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.judge import JUDGE
from ase_continuousp.model.list_ranker import RANKER, ListNetwork, ListRanker
from ase_continuousp.search.facts import FACTS, facts
from ase_continuousp.search.list_ranking import ListRanking, ranking_for_atoms
from ase_continuousp.search.rank import CalibratedRanking, EnergyRanking
from ase_continuousp.search.refine import Refined
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.origin import Origin
from ase_continuousp.training.ranking import RankerConfig, fit_ranker, list_losses
from ase_continuousp.training.ranking_lists import RankingLists
from tests.tiny_model import random_ranker, save_tiny_model

CUBE = Crystals.single([[0, 0, 0]], 3.0 * np.eye(3), [84])
ORIGIN = Origin(
    elements=(84,), nearest_elements=(52,),
    spacegroup=225, n_members=3, repeats=2, nearest=(-1.0, -2.0, -3.0), together=-0.5, other=-1.0,
    energy=float("nan"), mean_energy=1.5, unknown=0.25, beside=0.5, is_beside=False,
    n_known=1, n_known_elsewhere=20,
)  # fmt: skip


def found(distance=None, energy=-1.0, log_odds=None, parent=None, **origin):
    known = distance is not None
    start = StartCrystal(
        CUBE, "prototype" if known else "random", noise=0.0, distance=distance,
        nearness=-2.0 if known else None, origin=replace(ORIGIN, **origin) if known else None,
    )  # fmt: skip
    forces = np.array([[0.1, -0.3, 0.2]])
    return Refined(
        CUBE, energy, forces, 0.5 * np.eye(3), True, start, np.zeros(1),
        log_odds=log_odds, parent=parent,
    )  # fmt: skip


def test_facts_are_what_search_and_library_say():
    one = found(0.7, -1.0, log_odds=2.0, parent=(1.5, -1.25))
    [rows, nothing] = facts([[one, found(), found(1.0)], [found()]])
    assert rows.shape == (2, len(FACTS))
    assert nothing.shape == (0, len(FACTS))
    told = dict(zip(FACTS, rows[0].tolist(), strict=True))
    expected = {
        "log probability": -0.7, "nearness": -2.0, "same composition": 0.0, "nearest": -1.0,
        "log repeats": np.log(2), "cubic": 1.0, "at most monoclinic": 0.0, "log odds": 2.0,
        "log odds above parent": 0.5, "energy": -1.0, "energy above parent": 0.25,
        "energy of nearest": 0.0, "energy of nearest is unknown": 1.0, "mean energy": 1.5,
        "largest force": 0.3, "largest stress": 0.5, "equal prototypes": 2.0,
        "known polymorphs": 1.0, "known polymorphs elsewhere": 8.0, "atoms": 1.0, "elements": 1.0,
        "formula units": 1.0, "largest amount": 1.0, "mean row": 6.0, "spread of row": 0.0,
        "least electronegativity": 2.0, "contains 8": 0.0, "labels unchanged": 0.0,
        "largest change of row": 1.0, "largest change of group": 0.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert told[name] == pytest.approx(value), name
    alone = dict(zip(FACTS, facts([[found(0.7)]])[0][0].tolist(), strict=True))
    assert alone["log odds above parent"] == alone["energy above parent"] == 0.0


def test_facts_are_of_the_place_before_the_last_step():
    before = found(0.7, -1.0)
    after = replace(before, energy=-3.0, forces=np.ones((1, 3)), unpolished=before)
    np.testing.assert_array_equal(facts([[after]])[0], facts([[before]])[0])


@given(seed=st.integers(0, 2**31), n=st.integers(1, 9))
def test_scores_follow_their_members_in_any_order(seed, n):
    rng = np.random.default_rng(seed)
    ranker = random_ranker(seed % 7)
    rows = rng.normal(size=(n, len(FACTS)))
    order = rng.permutation(n)
    scores, none = ranker(rows)
    moved, same = ranker(rows[order])
    np.testing.assert_allclose(moved, scores[order], atol=1e-5)
    assert same == pytest.approx(none, abs=1e-5)


def test_lists_filled_up_are_the_same_lists():
    ranker = random_ranker()
    rng = np.random.default_rng(0)
    parts = [(rng.normal(size=(n, len(FACTS))), [False] * n) for n in (2, 5, 1)]
    lists = RankingLists.of(parts)
    padded, _, counts = lists.padded(np.array([0, 1, 2]))
    present = torch.from_numpy(np.arange(5) < counts[:, None])
    scores, none = ranker.network(torch.from_numpy(padded), present)
    for place, (rows, _) in enumerate(parts):
        own, alone = ranker(rows)
        np.testing.assert_allclose(scores[place, : counts[place]].numpy(), own, atol=1e-5)
        assert float(none[place]) == pytest.approx(alone, abs=1e-5)


def test_the_rest_of_a_list_counts():
    ranker = random_ranker()
    rows = np.random.default_rng(1).normal(size=(4, len(FACTS)))
    assert abs(ranker(rows)[0][0] - ranker(rows[:1])[0][0]) > 1e-3


def test_training_finds_who_is_right():
    # Right is the nearest, unless it is repeated; where all are repeated, none is.
    rng = np.random.default_rng(0)
    near, repeats = FACTS.index("nearness"), FACTS.index("log repeats")
    parts = []
    for _ in range(600):
        rows = rng.normal(size=(5, len(FACTS)))
        rows[:, repeats] = rng.random(5) < 0.6
        single = np.where(rows[:, repeats] == 0, rows[:, near], -np.inf)
        right = np.arange(5) == np.argmax(single)
        parts.append((rows, list(right & np.isfinite(single))))
    config = RankerConfig(channels=16, dropout=0.0, epochs=40, cut=0.0, learning_rate=1e-2)
    ranker = fit_ranker(RankingLists.of(parts[:500]), config)
    hits = []
    for rows, right in parts[500:]:
        scores, none = ranker(rows)
        hits.append(np.argmax([none, *scores]) == (1 + np.argmax(right) if any(right) else 0))
    assert np.mean(hits) > 0.85
    again = fit_ranker(RankingLists.of(parts[:500]), config)
    weights = ranker.network.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in again.network.state_dict().items())


def test_losses_are_those_of_the_softmax_and_their_gradient_is_finite():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = random_ranker().network.requires_grad_(True)
    rows = torch.randn(3, 4, len(FACTS))
    present = torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] * 3 + [False]])
    right = torch.tensor([[False, True, True, False], [False] * 4, [True, False, False, False]])
    losses = list_losses(network, rows, right, present)
    for b in range(3):
        n = int(present[b].sum())
        scores, none = network(rows[b : b + 1, :n], present[b : b + 1, :n])
        shares = torch.softmax(torch.cat([scores[0], none]), 0)
        own = shares[:n][right[b, :n]].sum() if right[b].any() else shares[n]
        assert losses[b].item() == pytest.approx(-torch.log(own).item(), abs=1e-5)
    losses.mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_classes_add_up_and_what_was_generated_shares_the_rest():
    ranker = random_ranker()
    ranking = ListRanking(ranker, generated=(-1.0, 0.5), nothing=-0.3, otherwise=EnergyRanking())
    prototypes = [found(d, log_odds=1.0) for d in (0.5, 1.5, 2.5)]
    generated = [found(energy=-2.0, log_odds=j) for j in (2.0, 7.0)]
    classes = [[generated[0], prototypes[1], prototypes[0]], [prototypes[2]], [generated[1]]]
    ranked = {id(one.head): one for one in ranking(classes)}
    scores, none = ranker(np.concatenate(facts(classes)))
    shares = np.exp([*scores, none - 1.0 + 0.5 * 2.0, none - 1.0 + 0.5 * 7.0, none - 0.3])
    shares /= shares.sum()
    head = [prototypes[1], prototypes[0]][int(np.argmax(scores[:2]))]
    assert ranked[id(head)].probability == pytest.approx(shares[0] + shares[1] + shares[3])
    assert ranked[id(prototypes[2])].probability == pytest.approx(shares[2])
    assert ranked[id(generated[1])].probability == pytest.approx(shares[4])
    order = [one.score for one in ranking(classes)]
    assert order == sorted(order, reverse=True)
    sharp = ListRanking(ranker, sharpness=1.5, otherwise=EnergyRanking())(classes)
    plain = ListRanking(ranker, otherwise=EnergyRanking())(classes)
    assert [one.head for one in sharp] == [one.head for one in plain]
    assert sharp[0].probability != pytest.approx(plain[0].probability)


def test_searches_without_prototypes_are_ranked_otherwise():
    classes = [[found(energy=-1.0)], [found(energy=-2.0)]]
    ranked = ListRanking(random_ranker(), otherwise=EnergyRanking())(classes)
    assert [one.head.energy for one in ranked] == [-2.0, -1.0]


def test_a_ranker_survives_its_file(tmp_path):
    ranker = random_ranker()
    ranker.save(tmp_path / RANKER, trained_on="nothing")
    rows = np.random.default_rng(2).normal(size=(6, len(FACTS)))
    for one, two in zip(ListRanker.load(tmp_path / RANKER)(rows), ranker(rows), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-2)
    assert [p.name for p in tmp_path.iterdir()] == [RANKER]


def test_what_is_no_ranker_is_refused(tmp_path):
    path = tmp_path / RANKER
    with pytest.raises(FileNotFoundError, match="no such file"):
        ListRanker.load(path)
    path.write_bytes(b"0" * 64)
    with pytest.raises(ValueError, match="holds no ranker"):
        ListRanker.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="format is None"):
        ListRanker.load(path)
    random_ranker().save(path)
    tensors = load_file(path)
    del tensors["bias"]
    about = {"format": "ase_continuousp-ranker-1", "hyperparameters": '{"names": ["a"]}'}
    save_file(tensors, path, metadata=about)
    with pytest.raises(ValueError, match="holds no ranker"):
        ListRanker.load(path)
    with pytest.raises(ValueError, match="trained with other facts"):
        ListRanking(ListRanker(ListNetwork(["nearness"])), otherwise=EnergyRanking())


def test_a_model_with_a_ranker_is_ranked_by_it(tmp_path):
    folder = save_tiny_model(tmp_path / "plain")
    assert isinstance(ranking_for_atoms(load_model(folder)), CalibratedRanking)
    constants = {"generated": [-1.0, 0.4], "nothing": -0.2, "sharpness": 1.1}
    folder = save_tiny_model(tmp_path / "listed", ranking={"list": constants})
    random_ranker().save(folder / RANKER)
    assert isinstance(ranking_for_atoms(load_model(folder)), CalibratedRanking)  # no judge
    (folder / JUDGE).touch()
    made = ranking_for_atoms(load_model(folder))
    assert isinstance(made, ListRanking)
    assert (made.generated, made.nothing, made.sharpness) == ((-1.0, 0.4), -0.2, 1.1)
    folder = save_tiny_model(tmp_path / "wrong", ranking={"list": {"colour": 1}})
    random_ranker().save(folder / RANKER)
    (folder / JUDGE).touch()
    with pytest.raises(ValueError, match="card of the model is wrong"):
        ranking_for_atoms(load_model(folder))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_lists": 0}, "n_lists"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"cut": -0.1}, r"cut must lie in \[0, 1\)"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RankerConfig(**wrong)
