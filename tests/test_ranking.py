"""The calibrated ranking: what counts, and that fitting finds the law that made the answers."""

from dataclasses import replace

import numpy as np
import pytest

from ase_continuousp.crystals import Crystals
from ase_continuousp.search.calibration import fit_ranking
from ase_continuousp.search.evidence import evidence
from ase_continuousp.search.rank import DEFAULT, CalibratedRanking, ranking_of_model
from ase_continuousp.search.refine import Refined
from ase_continuousp.starts import StartCrystal

CUBE = Crystals.single([[0, 0, 0]], 3.0 * np.eye(3), [84])


def found(kind, energy, distance=None, nearness=None, basin=None, log_odds=None):
    start = StartCrystal(CUBE, kind, noise=0.0, distance=distance, nearness=nearness)
    zeros = np.zeros((1, 3)), np.zeros((3, 3))
    trace = np.zeros(1)
    return Refined(CUBE, energy, *zeros, True, start, trace, basin, log_odds)


def test_evidence_is_what_the_witnesses_say():
    likely = found("prototype", -1.0, 0.5, nearness=-3.0, basin=-1.5)
    unlikely = found("prototype", -1.0, 3.0, nearness=-2.0)
    low, high, more = found("random", -2.0), found("random", -1.2), found("random", -1.2)
    known, [generated] = evidence([[unlikely, high, likely, more], [low]])
    assert [one.known for one in known] == pytest.approx([np.exp(-3.0), np.exp(-0.5), 0.0])
    assert [one.lead for one in known] == pytest.approx([0.5] * 3)  # by the basins
    assert [one.nearness for one in known[:2]] == [-2.0, -3.0]
    assert {one.n_generated for one in known} == {2}
    assert (generated.known, generated.lead, generated.n_generated) == (0.0, 0.0, 1)


def test_each_witness_is_judged():
    prototypes = [found("prototype", -1.0, d, log_odds=j) for d, j in ((3.0, 5.0), (0.5, 2.0))]
    generated = [found("random", -2.0, log_odds=7.0), found("random", -1.0, log_odds=9.0)]
    known, other = evidence([[generated[0], *prototypes], generated])
    assert [one.log_odds for one in known] == [5.0, 2.0, 7.0]
    assert [one.log_odds for one in other] == [7.0]
    np.testing.assert_array_equal(known[0].as_array()[-2:], [5.0, 0.0])
    np.testing.assert_array_equal(other[0].as_array()[-2:], [0.0, 7.0])


def test_equal_prototypes_stand_together():
    ranking = CalibratedRanking((0.0, 1.0) + (0.0,) * 8)
    alone = found("prototype", 0.0, 1.0)
    twins = [found("prototype", 0.0, 1.4), found("prototype", 0.0, 1.2)]
    first, second = ranking([[alone], twins])
    assert first.head is twins[1]
    total = 1.0 + sum(np.exp(-d) for d in (1.0, 1.4, 1.2))
    assert first.probability == pytest.approx((np.exp(-1.4) + np.exp(-1.2)) / total)
    assert second.probability == pytest.approx(np.exp(-1.0) / total)


def test_searches_without_prototypes_have_constants_of_their_own():
    classes = [[found("random", -1.0, log_odds=1.0)], [found("random", -1.1, log_odds=0.0)]]
    own = (0.0,) * 9 + (1.0,)
    first, second = CalibratedRanking(DEFAULT, generated=own)(classes)
    assert first.head.energy == -1.0
    assert first.probability / second.probability == pytest.approx(np.e)
    assert CalibratedRanking(DEFAULT, generated=own)([]) == []


def test_guessed_constants_give_no_probability():
    classes = [[found("prototype", 0.0, 0.2)], [found("random", 0.0)]]
    guessed, fitted = (CalibratedRanking(DEFAULT, is_fitted=f)(classes) for f in (False, True))
    assert [one.score for one in guessed] == [one.score for one in fitted]
    assert [one.probability is None for one in guessed + fitted] == [True] * 2 + [False] * 2


def test_probabilities_are_a_softmax_with_none_and_prototypes_represent():
    ranking = CalibratedRanking((0.5, 1.0, -1.0, 0.0, -3.0) + (0.0,) * 5)
    prototype, random = found("prototype", 0.0, 0.2), found("random", 0.0)
    ranked = ranking([[found("random", 0.4)], [random, prototype]])
    scores = np.array([-0.2, -1.0, -1.0 - 3.0 * 0.3])  # the lead is bounded
    shares = np.exp(scores) / (np.exp(scores).sum() + np.exp(0.5))
    expected = [shares[0] + shares[1], shares[2]]
    np.testing.assert_allclose([one.probability for one in ranked], expected)
    assert ranked[0].head is prototype


def test_sharpness_changes_what_is_claimed_not_the_order():
    classes = [[found("prototype", 0.0, d)] for d in (0.3, 1.5, 0.9)]
    constants = (-1.0, 1.0) + (0.0,) * 8
    plain, sharp = (CalibratedRanking(constants, sharpness=b)(classes) for b in (1.0, 2.0))
    assert [one.head for one in plain] == [one.head for one in sharp]
    squares = np.array([one.probability for one in plain]) ** 2
    none = 1.0 - sum(one.probability for one in plain)
    expected = squares / (squares.sum() + none**2)
    np.testing.assert_allclose([one.probability for one in sharp], expected)


def test_known_compounds_have_constants_of_their_own():
    by_judge = (0.0,) * 8 + (1.0, 0.0)
    by_library = (0.0, 1.0) + (0.0,) * 8
    ranking = CalibratedRanking(by_judge, familiar=by_library)
    for nearness, first in ((0.0, 0.1), (-0.5, 2.0)):
        likely = found("prototype", 0.0, 0.1, nearness=nearness, log_odds=-1.0)
        liked = found("prototype", 0.0, 2.0, nearness=-3.0, log_odds=1.0)
        assert ranking([[likely], [liked]])[0].head.start.distance == first


def test_basins_are_needed_where_a_lead_counts():
    without = (1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert CalibratedRanking(DEFAULT).needs_basins
    assert not CalibratedRanking(without).needs_basins
    assert CalibratedRanking(without, familiar=DEFAULT).needs_basins


def test_far_scores_do_not_overflow():
    [one] = CalibratedRanking((-4000.0, 1e4) + (0.0,) * 8)([[found("prototype", 0.0, 0.3)]])
    assert one.probability == 1.0


def test_fit_finds_the_constants_that_made_the_answers():
    rng = np.random.default_rng(0)
    truth = np.array([-0.5, 1.5, -2.0])
    searches = []
    for _ in range(6000):
        x = rng.normal(size=(4, 2))
        z = np.concatenate([[truth[0]], x @ truth[1:]])
        answer = rng.choice(5, p=np.exp(z) / np.exp(z).sum())
        searches.append((x, np.arange(1, 5) == answer))
    constants, loss = fit_ranking(searches)
    np.testing.assert_allclose(constants, truth, atol=0.12)
    assert loss < np.log(5)


def test_fit_needs_searches():
    with pytest.raises(ValueError, match="searches must hold"):
        fit_ranking([([], [])])


def test_constants_come_from_the_card():
    assert tuple(ranking_of_model({}).constants) == DEFAULT
    own = [float(i) for i in range(10)]
    assert ranking_of_model({"ranking": {"constants": own}}).constants.tolist() == own
    card = {"ranking": {"constants": own, "formula": own[::-1], "generated": DEFAULT}}
    assert ranking_of_model(card, "formula").constants.tolist() == own[::-1]
    assert ranking_of_model(card).constants.tolist() == own
    assert tuple(ranking_of_model(card).generated) == DEFAULT
    card["ranking"] |= {"familiar": DEFAULT, "formula familiar": own}
    assert tuple(ranking_of_model(card).familiar) == DEFAULT
    assert ranking_of_model(card, "formula").familiar.tolist() == own
    with pytest.raises(ValueError, match="constants must be 10 numbers: 2"):
        ranking_of_model({"ranking": {"constants": [1.0, 2.0]}})


def test_order_does_not_depend_on_a_shift_of_all_energies():
    energies = (-1.0, -1.2, -1.1)
    classes = [[found("prototype", energy, 1.0)] for energy in energies]
    moved = [[replace(members[0], energy=members[0].energy + 7.0)] for members in classes]
    ranking = CalibratedRanking(DEFAULT)
    first = [one.score for one in ranking(classes)]
    np.testing.assert_allclose([one.score for one in ranking(moved)], first, atol=1e-12)
    assert ranking(classes)[0].head.energy == -1.2


def test_without_prototypes_the_lowest_energy_is_first():
    ranked = CalibratedRanking(DEFAULT)([[found("random", energy)] for energy in (-1.0, -3.0)])
    assert [one.head.energy for one in ranked] == [-3.0, -1.0]
    assert ranked[0].probability is None
