"""Schedules of temperature and step size, and the warm-up of the step size."""

from __future__ import annotations

import numpy as np
import pytest

from ase_continuousp.sampling.schedule import Geometric, progress
from ase_continuousp.sampling.warmup import WarmUp


def test_geometric_falls_by_a_constant_factor_between_its_ends():
    schedule = Geometric(0.5, 5e-4)
    values = [schedule(progress(step, 1000)) for step in range(1000)]
    assert values[0] == 0.5
    assert values[-1] == pytest.approx(5e-4, rel=1e-12)
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(1e-3) / 999, rtol=1e-9)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, -1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_geometric_refuses_what_has_no_logarithm(ends):
    with pytest.raises(ValueError, match="must be positive"):
        Geometric(*ends)


def test_progress_stays_at_the_end_and_takes_a_single_step():
    assert progress(0, 1) == 0.0
    assert progress(1, 1) == 1.0
    assert progress(70, 50) == 1.0


def test_warm_up_changes_the_step_in_the_first_half_of_each_level_only():
    warm_up = WarmUp(n_levels=10)
    scale = np.full(2, 0.1)
    for step in range(200):
        new = warm_up.update(scale, np.array([0.0, 1.0]), step=step, n_steps=200)
        if step % 20 < 10:
            assert not warm_up.is_frozen(step=step, n_steps=200)
            assert new[0] < scale[0]
            assert scale[1] < new[1] or new[1] == 1.0
        else:
            assert warm_up.is_frozen(step=step, n_steps=200)
            assert np.array_equal(new, scale)


def test_warm_up_finds_the_target_of_a_known_acceptance_curve():
    # a = exp(−s/0.01) has its target 0.574 at s = 0.01 log(1/0.574).
    warm_up = WarmUp(n_levels=1)
    scale = np.ones(1)
    for step in range(2000):
        scale = warm_up.update(scale, np.exp(-scale / 0.01), step=step, n_steps=2000)
    assert scale[0] == pytest.approx(-0.01 * np.log(0.574), rel=0.02)


def test_the_first_step_is_short_in_noise_and_drift():
    warm_up = WarmUp(first_length=0.1)
    for slope, temperature in ((0.0, 1.0), (10.0, 1.0), (50.0, 0.01)):
        scale = warm_up.first_scale(slope, temperature=temperature, step_size=0.5)
        eta = 0.5 * scale
        assert np.sqrt(2.0 * eta) <= 0.1 + 1e-12
        assert eta / temperature * slope <= 0.1 + 1e-12
    assert warm_up.first_scale(0.0, temperature=1.0, step_size=1e-4) == 1.0


def test_warm_up_refuses_a_target_that_cannot_be_met():
    with pytest.raises(ValueError, match="between 0 and 1: 1"):
        WarmUp(target=1.0)
