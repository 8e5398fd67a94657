"""Batches and noise depend on seed and step alone, and parts of a batch add up to the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_continuousp.io import from_atoms
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.training.batches import Batches, Streams
from ase_continuousp.training.objectives.score import ScoreMatching
from tests.systems import system

CRYSTALS = from_atoms([system(n) for n in ("rutile", "rock_salt", "perovskite", "one_atom", "hcp")])


@given(n=st.integers(1, 12), size=st.integers(1, 30), steps=st.integers(1, 8))
def test_every_epoch_visits_every_crystal_once(n, size, steps):
    batches = Batches([1] * n, size, seed=3)
    seen = np.concatenate([batches.rows(step) for step in range(steps)])
    for epoch in range(len(seen) // n):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(size=st.integers(1, 9), of=st.integers(1, 9), step=st.integers(0, 50))
def test_parts_make_up_the_batch_whatever_was_asked_before(size, of, step):
    counts = [3, 1, 4, 1, 5]
    batches = Batches(counts, size, seed=1)
    if of > size:
        with pytest.raises(ValueError, match=f"parts it is split into, {of}: {size}"):
            batches.part(step, 0, of)
        return
    whole = batches.part(step)
    batches.part(0)
    parts = [batches.part(step, k, of) for k in range(of)]
    assert np.concatenate([p.rows for p in parts]).tolist() == whole.rows.tolist()
    assert np.concatenate([p.slots for p in parts]).tolist() == list(range(size))
    assert {p.n_crystals for p in parts} == {size}
    assert {p.n_atoms for p in parts} == {sum(counts[row] for row in whole.rows)}


def test_orders_differ_between_epochs_and_seeds_and_steps_between_noise():
    batches = Batches([1] * 50, 50, seed=0)
    orders = [batches.rows(0), batches.rows(1), Batches([1] * 50, 50, seed=1).rows(0)]
    assert len({tuple(order) for order in orders}) == 3
    one = CRYSTALS.select([3])
    noise = [
        Batches([1], 1, seed).part(step).streams(one).standard_normal((1, 3)).tolist()
        for seed, step in ((0, 0), (0, 1), (1, 0))
    ]
    assert noise[0] != noise[1]
    assert noise[0] != noise[2]


def test_noise_of_a_crystal_does_not_depend_on_its_company():
    batches = Batches(CRYSTALS.counts, 5, seed=0)
    objective = ScoreMatching()

    def noised(part):
        chosen = CRYSTALS.select(part.rows)
        return objective.draw(chosen, part.streams(chosen)).crystals

    whole = noised(batches.part(4))
    halves = [noised(batches.part(4, k, 2)) for k in (0, 1)]
    np.testing.assert_array_equal(
        np.concatenate([half.positions for half in halves]), whole.positions
    )
    np.testing.assert_array_equal(np.concatenate([half.cells for half in halves]), whole.cells)


def test_gradients_and_losses_of_parts_add_up_to_those_of_the_batch():
    torch.manual_seed(0)
    network = ContinuousEnergy(channels=8, vector_channels=4, n_layers=2).double()
    objective = ScoreMatching()
    batches = Batches(CRYSTALS.counts, 5, seed=0)
    found = {}
    for of in (1, 3):
        network.zero_grad()
        losses = np.zeros(2)
        for index in range(of):
            part = batches.part(2, index, of)
            chosen = CRYSTALS.select(part.rows)
            noised = objective.draw(chosen, part.streams(chosen))
            losses += objective.accumulate(network, noised, torch.float64, part)
        gradient = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        found[of] = (losses, torch.cat(gradient).clone())
    np.testing.assert_allclose(found[3][0], found[1][0], rtol=1e-12)
    # The gradient is a central difference whose steps are those of the whole batch's loss.
    torch.testing.assert_close(found[3][1], found[1][1], rtol=1e-6, atol=1e-9)


def test_streams_refuse_other_shapes():
    streams = Streams([np.random.default_rng(s) for s in range(2)], np.array([3, 4]))
    with pytest.raises(ValueError, match="number of crystals, 2, or of atoms, 7: 5"):
        streams.standard_normal((5, 3))
    with pytest.raises(ValueError, match="one per crystal, 2: 3"):
        streams.spawn(3)
    assert len(streams.spawn(2)) == 2


def test_no_crystal_is_refused():
    with pytest.raises(ValueError, match="at least one crystal"):
        Batches([], 2, seed=0)
