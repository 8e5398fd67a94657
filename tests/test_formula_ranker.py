"""The ranker of searches from a formula: whom it learns from, and when predictions ask it."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp import predict
from ase_continuousp.cli import main as command_line
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.io import from_atoms, write_atoms
from ase_continuousp.model.checkpoint import load_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.judge import JUDGE, Judge
from ase_continuousp.model.list_ranker import FORMULA_RANKER, RANKER, ListRanker
from ase_continuousp.search.facts import FACTS, facts
from ase_continuousp.search.jobs import Job, model_key, run_job
from ase_continuousp.search.list_calibration import fit_list_constants
from ase_continuousp.search.list_ranking import Listed, ranking_for_formula
from ase_continuousp.search.rank import CalibratedRanking
from ase_continuousp.search.refine import anneal_settings
from ase_continuousp.search.sources import read_priors
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training import list_constants
from ase_continuousp.training.formula_ranking import (
    crystals_with_energies,
    kept_lists_of,
    left_out_lists_of,
    lowest_crystals,
    stable_crystals,
    train_formula_ranker,
    unseen_lists_of,
)
from ase_continuousp.training.list_constants import fit_constants
from ase_continuousp.training.ranking import RankerConfig
from tests.tiny_model import random_ranker, save_tiny_model

KINDS = {"rocksalt": 5.5, "cesiumchloride": 3.4, "zincblende": 5.9}
SALTS = ["LiF", "LiCl", "NaF", "NaCl", "KF", "KCl"]
CONFIG = RankerConfig(n_prototypes=4, epochs=2, batch_size=4, channels=8)


def salt(formula, kind="rocksalt"):
    return bulk(formula, kind, a=KINDS[kind])


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A model, and a table in which rock salt is stable and zinc blende is not."""
    folder = tmp_path_factory.mktemp("formula")
    atoms = [salt(formula, kind) for kind in KINDS for formula in SALTS]
    model = save_tiny_model(folder / "model", elements=[3, 9, 11, 17, 19, 35])
    build_library(from_atoms(atoms), model / "prototypes.npz", n_fit=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Judge(ContinuousEnergy(channels=16, vector_channels=16, n_layers=2)).save(model / JUDGE)
    for name, energy in (("salts", {"rocksalt": "0.0"}), ("unstable", {})):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["cif", "e_above_hull"])
            for kind in KINDS:
                for formula in SALTS:
                    structure = AseAtomsAdaptor.get_structure(salt(formula, kind))
                    writer.writerow([structure.to(fmt="cif"), energy.get(kind, "0.05")])
    return folder


@pytest.fixture
def with_ranker(material, tmp_path):
    """The same model with a ranker for searches from a formula."""
    card = {"ranking": {"formula list": {"nothing": -0.3, "sharpness": 1.2}}}
    folder = save_tiny_model(tmp_path / "model", elements=[3, 9, 11, 17, 19, 35], **card)
    for name in ("prototypes.npz", JUDGE):
        (folder / name).write_bytes((material / "model" / name).read_bytes())
    random_ranker().save(folder / FORMULA_RANKER)
    return folder


def test_crystals_on_the_hull_and_the_lowest_of_others_are_learned_from(material):
    known = crystals_with_energies(material / "salts.csv")
    crystals = stable_crystals(*known)
    expected = from_atoms([salt(formula) for formula in SALTS])
    np.testing.assert_allclose(np.sort(crystals.volumes), np.sort(expected.volumes), rtol=1e-5)
    assert len(lowest_crystals(*known)) == 0
    both = [material / "salts.csv", material / "unstable.csv"]
    crystals = crystals_with_energies(both)[0]
    assert len(crystals) == 2 * 3 * len(SALTS)
    energies = np.where(crystals.volumes < np.median(crystals.volumes), 0.03, 0.06)
    lowest = lowest_crystals(crystals, energies)
    assert len(lowest) == len(SALTS)  # one of each composition
    assert lowest.volumes.max() < np.median(crystals.volumes)
    unknown = lowest_crystals(crystals, np.full(len(crystals), np.nan))
    assert len(unknown) == len(SALTS)


def test_what_data_lack_is_named(material, tmp_path):
    with pytest.raises(ValueError, match="must hold crystals with an e_above_hull of 0"):
        train_formula_ranker(material / "model", material / "unstable.csv")
    write_atoms(tmp_path / "salts.extxyz", [salt("NaCl")])
    with pytest.raises(ValueError, match=r"column 'e_above_hull': .*salts\.extxyz has none"):
        crystals_with_energies(tmp_path / "salts.extxyz")
    text = (material / "salts.csv").read_text().replace("0.05", "low", 1)
    (tmp_path / "words.csv").write_text(text)
    with pytest.raises(ValueError, match=r"column 'e_above_hull' must hold numbers.*row 6 .*'low'"):
        crystals_with_energies(tmp_path / "words.csv")


def test_lists_are_those_of_an_unknown_formula(material):
    # Eight atoms: the lists are of the formula, whatever cell it was found in.
    truth = from_atoms([bulk("NaCl", "rocksalt", a=5.5, cubic=True)])
    lists = unseen_lists_of(model_key(load_model(material / "model")), truth, 4)
    assert not lists.facts[:, FACTS.index("same composition")].any()
    assert not lists.facts[:, FACTS.index("known polymorphs")].any()
    assert (lists.facts[:, FACTS.index("atoms")] == 2).all()
    model = material / "model"
    start = PrototypeStart(
        model / "prototypes.npz", read_priors(model), leave_out=["NaCl"], noise=0.0
    )
    offered = start.generate_any([11, 17], list(range(1, 11)), 4)
    told = [rms_distance(one.crystals, truth) is not None for one in offered]
    assert lists.is_right.tolist() == told
    assert any(told)


def test_facts_of_size_are_those_of_each_prototype(material):
    model = load_model(material / "model")
    start = PrototypeStart(material / "model" / "prototypes.npz", read_priors(model.path))
    small, large = (start.generate_any([11, 17], [units], 1)[0] for units in (1, 2))
    job = Job(model_key(model), "cpu", (small, large), anneal_settings(model), (0,))
    rows = np.concatenate(facts([[one] for one in run_job(job)]))
    assert rows[:, FACTS.index("atoms")].tolist() == [2.0, 4.0]
    assert rows[:, FACTS.index("formula units")].tolist() == [1.0, 2.0]


def test_training_writes_a_ranker_and_goes_on_from_its_lists(material, monkeypatch):
    model = material / "model"
    first = ListRanker.load(train_formula_ranker(model, material / "salts.csv", CONFIG))
    monkeypatch.setattr("ase_continuousp.training.ranking_lists._make", None)  # all are there
    again = ListRanker.load(train_formula_ranker(model, [material / "salts.csv"], CONFIG))
    weights = first.network.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in again.network.state_dict().items())
    assert load_model(model).card["formula ranker"] == {"lists": 10}  # 6 unknown, 2 + 2
    (model / FORMULA_RANKER).unlink()


def test_the_command_trains_it(material, monkeypatch, capsys):
    model, data = material / "model", str(material / "salts.csv")

    def call(*options):
        arguments = ["ranker", "--model", str(model), "--data", data, "--formula", *options]
        monkeypatch.setattr(sys, "argv", ["ase-continuousp", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return ended.value.code or 0, capsys.readouterr()

    code, told = call("--lists", "3")
    assert code == 0
    assert FORMULA_RANKER in told.out
    (model / FORMULA_RANKER).unlink()
    code, told = call("--fresh", data)
    assert code != 0
    assert "--fresh is not for --formula" in told.err
    # What is wrong with the searches is told before anything is trained.
    for wrong, message in (("--searches", "0"), ("--val", "nowhere.csv")):
        code, told = call(wrong, message)
        assert code != 0
        assert message in told.err
        assert not (model / FORMULA_RANKER).exists()


@pytest.mark.parametrize("formula", [True, False])
def test_interrupted_searches_go_on_to_the_same_constants(
    with_ranker, material, monkeypatch, formula
):
    data = material / "salts.csv"
    if not formula:
        (with_ranker / FORMULA_RANKER).rename(with_ranker / RANKER)
    search, done = list_constants._search, []

    def interrupted(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return search(*arguments)

    few = {"formula": formula, "n_searches": 4, "n_samples": 4}
    with monkeypatch.context() as patch:
        patch.setattr(list_constants, "_search", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_constants(with_ranker, data, **few)
    [journal] = (with_ranker / "ranking").glob("searches-*.jsonl")
    assert len(journal.read_text().splitlines()) == 2
    with journal.open("a") as stream:
        stream.write("[[[0.1")  # what a kill leaves
    gone_on = fit_constants(with_ranker, data, **few)
    key = "formula list" if formula else "list"
    assert load_model(with_ranker).card["ranking"][key] == gone_on
    journal.unlink()
    assert fit_constants(with_ranker, data, **few) == gone_on


def test_the_same_training_goes_on_with_the_same_searches(material):
    model, data = material / "model", material / "salts.csv"
    written = []
    for _ in range(2):
        train_formula_ranker(model, data, CONFIG)
        fit_constants(model, data, formula=True, n_searches=2, n_samples=3)
        written.append((model / FORMULA_RANKER).read_bytes() + (model / "card.json").read_bytes())
        [journal] = (model / "ranking").glob("searches-*.jsonl")
        assert len(journal.read_text().splitlines()) == 2
    assert written[0] == written[1]
    (model / FORMULA_RANKER).unlink()


def test_constants_need_a_ranker_of_their_kind(with_ranker, material):
    with pytest.raises(ValueError, match=r"a ranker and a judge: .* has no ranker\.safetensors"):
        fit_constants(with_ranker, material / "salts.csv")


def test_searches_need_crystals_on_the_hull(with_ranker, material):
    with pytest.raises(ValueError, match="must hold crystals with an e_above_hull of 0"):
        fit_constants(with_ranker, material / "unstable.csv", formula=True)


def test_fitted_constants_are_those_that_answers_were_drawn_with():
    rng = np.random.default_rng(0)
    a, b, c, sharpness = -1.0, 0.7, -0.5, 1.3
    searches = []
    for _ in range(3000):
        prototypes = [rng.normal(size=n) for n in (1, 2, 0, 0)]
        odds = [rng.normal(scale=2.0, size=n) for n in (0, 1, 1, 1)]
        none = rng.normal()
        pairs = zip(prototypes, odds, strict=True)
        scores = [np.logaddexp.reduce([*z, *(none + a + b * j)]) for z, j in pairs]
        told = sharpness * np.array([*scores, none + c])
        answer = rng.choice(5, p=np.exp(told) / np.exp(told).sum())
        searches.append((Listed(prototypes, odds, none), np.arange(4) == answer))
    constants, loss = fit_list_constants(searches)
    found = [*constants["generated"], constants["nothing"], constants["sharpness"]]
    np.testing.assert_allclose(found, [a, b, c, sharpness], atol=0.15)
    assert loss < np.log(5)
    with pytest.raises(ValueError, match="at least one search"):
        fit_list_constants([])


def test_unknown_formulas_are_ranked_by_it(with_ranker):
    found = predict("KBr", model=with_ranker, n_samples=4, start="prototype")
    model = load_model(with_ranker)
    start = PrototypeStart(with_ranker / "prototypes.npz", read_priors(with_ranker), noise=0.0)
    made = start.generate_any([19, 35], list(range(1, 11)), 4)
    job = Job(model_key(model), "cpu", tuple(made), anneal_settings(model), (0,), with_parents=True)
    scores, none = ListRanker.load(with_ranker / FORMULA_RANKER)(
        np.concatenate(facts([[one] for one in run_job(job)]))
    )
    shares = np.exp(1.2 * np.array([*scores, none - 0.3]))
    shares = np.sort(shares[:-1] / shares.sum())[::-1]
    np.testing.assert_allclose([one.probability for one in found], shares, rtol=1e-4)


def test_known_crystals_are_learned_from_as_known_and_as_left_out(material):
    model = model_key(load_model(material / "model"))
    same, known = FACTS.index("same composition"), FACTS.index("known polymorphs")
    truth = from_atoms([salt("NaCl")])
    kept, left = kept_lists_of(model, truth, 4), left_out_lists_of(model, truth, 4)
    assert kept.facts[:, same].any()
    assert (kept.facts[:, known] == 3).all()  # one of each kind
    assert (left.facts[:, known] == 2).all()
    assert kept.is_right[kept.facts[:, same] > 0].any()
    # With no other crystal of the composition left there is nothing new to learn.
    alone = from_atoms([bulk("KBr", "rocksalt", a=5.5)])
    assert len(left_out_lists_of(model, alone, 4)) == 0
    assert len(kept_lists_of(model, alone, 4)) == 1


def test_without_a_judge_there_is_no_ranking_by_it(with_ranker):
    (with_ranker / JUDGE).unlink()
    assert isinstance(ranking_for_formula(load_model(with_ranker)), CalibratedRanking)


def test_a_wrong_card_is_named(with_ranker, tmp_path):
    folder = save_tiny_model(tmp_path / "wrong", ranking={"formula list": {"colour": 1}})
    for name in (FORMULA_RANKER, JUDGE):
        (folder / name).write_bytes((with_ranker / name).read_bytes())
    with pytest.raises(ValueError, match="card of the model is wrong"):
        ranking_for_formula(load_model(folder))
