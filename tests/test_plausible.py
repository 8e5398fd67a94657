"""What a judge thinks too unlikely: what is dropped, and that searches and evaluations agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.db import connect
from hypothesis import given
from hypothesis import strategies as st

from ase_continuousp import load_model
from ase_continuousp.cli.main import app
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.search.many import predict_many
from ase_continuousp.search.plausible import LeastOdds, plausible
from ase_continuousp.search.predict import predict
from ase_continuousp.search.rank import Ranked
from ase_continuousp.search.refine import Refined
from ase_continuousp.starts import StartCrystal

CUBE = Crystals.single([[0, 0, 0]], 3.0 * np.eye(3), [84])
Member = tuple[bool, float | None]


def refined(is_built: bool, log_odds: float | None) -> Refined:
    start = StartCrystal(CUBE, "prototype" if is_built else "random", 0.0 if is_built else 1.0)
    zeros = np.zeros((1, 3)), np.zeros((3, 3))
    return Refined(CUBE, -1.0, *zeros, True, start, np.zeros(1), None, log_odds)


members = st.lists(st.tuples(st.booleans(), st.none() | st.floats(-9, 9)), min_size=1, max_size=3)


shares = st.none() | st.sampled_from([0.0, 0.01, 0.02, 0.5])


@given(st.lists(st.tuples(members, shares), max_size=6), st.floats(-9, 9), st.floats(-9, 9))
def test_what_stays(
    classes: list[tuple[list[Member], float | None]], built: float, generated: float
) -> None:
    ranked = [Ranked(tuple(refined(*one) for one in own), 0.0, p) for own, p in classes]
    kept = plausible(ranked, LeastOdds(built, generated))
    assert kept[:1] == ranked[:1]
    left = iter(kept[1:])
    following = next(left, None)
    for one, (own, share) in zip(ranked[1:], classes[1:], strict=True):
        stays = share in (0.02, 0.5)
        stays |= any(odds is None or odds >= (built if b else generated) for b, odds in own)
        assert stays == (one is following)
        if stays:
            following = next(left, None)
    assert following is None
    assert plausible(ranked, LeastOdds()) == ranked


@pytest.mark.parametrize("entry", [{"built": "low"}, {"built": True}, {"known": -3.0}])
def test_a_wrong_card_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the card of the model is wrong: "):
        LeastOdds.of_model({"least odds": entry})


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="generated: must be a number: nan"):
        LeastOdds(generated=float("nan"))


def with_least_odds(folder: Path, built: float, generated: float) -> Path:
    shutil.copytree(load_model("mp20").path, folder)
    card = json.loads((folder / "card.json").read_text())
    card["least odds"] = {"built": built, "generated": generated}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_searches_and_evaluations_offer_the_same(tmp_path: Path) -> None:
    options = {"n_samples": 12, "start": "prototype", "formula_units": 1}
    everything = predict("TiO2", model="mp20", implausible=True, **options)
    told = [one.probability for one in everything]
    likely = [p for i, p in enumerate(told) if i == 0 or p >= 0.02]
    assert len(likely) < len(told)

    none = with_least_odds(tmp_path / "none", 99.0, 99.0)
    assert [one.probability for one in predict("TiO2", model=none, **options)] == likely
    assert len(predict("TiO2", model=none, implausible=True, **options)) == len(told)

    truth = [everything[-1].atoms]
    count = {"k": 12, "start": "prototype", "processes": 1, "controls": False}
    [row] = evaluate(none, truth, **count).per_structure
    [whole] = evaluate(
        with_least_odds(tmp_path / "all", -99.0, -99.0), truth, **count
    ).per_structure
    assert [one.rms for one in row.samples] == [one.rms for one in whole.samples]
    assert row.n_samples < whole.n_samples == len(whole.samples)
    assert row.top1_rms == whole.top1_rms
    assert {one.place for one in whole.samples} == set(range(1, len(whole.classes) + 1))
    assert whole.top1_rms in [one.rms for one in whole.samples if one.place == 1]

    # A bound between the odds of what was found parts it.
    odds = sorted(one.log_odds for one in whole.samples)
    middle = 0.5 * (odds[0] + odds[-1])
    some = with_least_odds(tmp_path / "some", middle, middle)
    [row] = evaluate(some, truth, **count).per_structure
    assert 0 < row.n_samples < whole.n_samples
    kept = [one.rms for one in row.samples if one.is_offered and one.rms is not None]
    assert row.rms == min(kept, default=None)
    offered = [one.probability for one in predict("TiO2", model=some, **options)]
    assert set(likely) <= set(offered) <= set(told)


def test_many_searches_and_the_command_line_offer_it_when_asked(tmp_path: Path) -> None:
    none = with_least_odds(tmp_path / "none", 99.0, 99.0)
    options = {"n_samples": 12, "start": "prototype", "formula_units": 1, "processes": 1}
    found = tmp_path / "found.db"
    for implausible in (False, True):
        tally = predict_many(["TiO2"], found, model=none, implausible=implausible, **options)
        assert tally.done == 1  # another search
    ranks = [row.rank for row in connect(found).select()]
    told = []
    for asked in ([], ["--implausible"]):
        table = tmp_path / "table.json"
        command = ["predict", "TiO2", "-n", "12", "--start", "prototype", "--units", "1"]
        more = ["--model", str(none), "--json", str(table), *asked]
        assert not app([*command, *more], standalone_mode=False)
        told.append(len(json.loads(table.read_text())["candidates"]))
    assert told[0] < told[1]
    assert sorted(ranks) == sorted([*range(1, told[0] + 1), *range(1, told[1] + 1)])
