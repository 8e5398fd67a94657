"""Growing a network: what was learned is kept, and everything new can learn."""

import numpy as np
import pytest
import torch

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.training.growth import grown
from ase_continuousp.training.objectives.score import ScoreMatching
from tests.strategies import random_atoms

SIZES = {"channels": 48, "vector_channels": 32, "n_layers": 3}


def small_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = ContinuousEnergy(channels=32, vector_channels=16, n_layers=2)
        with torch.no_grad():  # as after training: every layer says something
            for layer in network.layers:
                layer.update.weight *= 3.0
    return network


def noised(objective):
    rng = np.random.default_rng(0)
    some = [io.from_atoms(random_atoms(rng, n, min_distance=1.5)) for n in range(1, 9)]
    return objective.draw(reduce_crystals(Crystals.concatenate(some)), rng)


@pytest.mark.parametrize("sizes", [SIZES, SIZES | {"n_layers": 2}, SIZES | {"channels": 32}])
def test_the_energy_is_nearly_kept(sizes):
    small, objective = small_network(), ScoreMatching()
    batch = noised(objective)
    before = objective._residuals(small, batch, torch.float32)
    after = objective._residuals(grown(small, **sizes), batch, torch.float32)
    fresh = objective._residuals(ContinuousEnergy(**sizes), batch, torch.float32)
    change = np.linalg.norm(after[2] - before[2])
    assert change < 0.2 * np.linalg.norm(fresh[2] - before[2])


def test_no_growth_changes_nothing():
    small = small_network()
    same = grown(small, channels=32, vector_channels=16, n_layers=2)
    for name, value in small.named_parameters():
        torch.testing.assert_close(same.get_parameter(name), value, rtol=0, atol=0)


def test_everything_new_learns():
    objective, large = ScoreMatching(), grown(small_network(), **SIZES)
    optimizer = torch.optim.SGD(large.parameters(), lr=1e-3)
    for _ in range(2):  # what nobody reads yet has a gradient once its readers have moved
        optimizer.step()
        optimizer.zero_grad()
        objective.accumulate(large, noised(objective), torch.float32)
    for name, value in large.named_parameters():
        new = value.grad[-1] if value.ndim and len(value) in (48, 32) else value.grad
        assert new.abs().max() > 0, name


def test_growth_is_reproducible():
    one, two = (grown(small_network(), **SIZES, seed=5) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


def test_shrinking_is_refused():
    with pytest.raises(ValueError, match="channels must be at least the 32 there are: 16"):
        grown(small_network(), channels=16, vector_channels=16, n_layers=2)
