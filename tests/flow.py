"""Both flows between a state and its proposal, from the step itself and scipy's normal law."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm

from ase_continuousp.sampling import Displacement, SamplerState, langevin
from tests.lattices import random_crystals

TEMPERATURE = 0.7
STEP_SIZE = 0.02


@dataclass
class Scripted:
    """Coordinates that use a given noise and remember where they went."""

    inner: object
    given: Displacement | None = None
    moves: list = field(default_factory=list)

    def noise(self, crystals, rng):
        return self.inner.noise(crystals, rng) if self.given is None else self.given

    def slope(self, crystals, evaluation):
        return self.inner.slope(crystals, evaluation)

    def move(self, crystals, displacement):
        moved = self.inner.move(crystals, displacement)
        self.moves.append((displacement, moved))
        return moved

    def redescribe(self, displacement, before, after):
        self.moves.append((self.inner.redescribe(displacement, before, after), after))
        return self.moves[-1][0]


def gaussian_log_density(crystals, displacement, slope):
    """Log density of y from the normal law of scipy, one number at a time.

    A symmetric matrix is compared by its six coordinates in an orthonormal basis, or by nine:
    the three that are always zero cancel between both directions. So do the directions that a
    constraint forbids.
    """
    sigma = np.sqrt(2.0 * STEP_SIZE)
    scale = -STEP_SIZE / TEMPERATURE
    atoms = norm.logpdf(displacement.atoms, scale * slope.atoms, sigma).sum(axis=1)
    cells = norm.logpdf(displacement.cells, scale * slope.cells, sigma).sum(axis=(1, 2))
    return np.add.reduceat(atoms, crystals.offsets[:-1]) + cells


def flow_asymmetry(coordinates, energy, seed, there=None, back=None, here=None):
    """Return log of flow(x → x′) / flow(x′ → x) for a random proposal of each crystal."""
    rng = np.random.default_rng(seed)
    here = random_crystals(rng) if here is None else here
    options = {"temperature": TEMPERATURE, "step_size": STEP_SIZE}
    start = SamplerState.start(here, energy, rng)

    out = Scripted(coordinates)
    _, record = langevin.step(start, energy, out, describe=there, **options)
    forward, far = out.moves[0]
    backward = forward.negative()
    if there is not None:
        backward, far = out.moves[1]

    end = SamplerState.start(far, energy, rng)
    slope_here = coordinates.slope(here, start.evaluation)
    slope_far = coordinates.slope(far, end.evaluation)
    # The noise that makes the step from x′ propose exactly the way back.
    drift = slope_far.scaled(STEP_SIZE / TEMPERATURE, far)
    noise = backward.plus(drift).scaled(1.0 / np.sqrt(2.0 * STEP_SIZE), far)
    home = Scripted(coordinates, given=noise)
    _, record_back = langevin.step(end, energy, home, describe=back, **options)
    _, returned = home.moves[-1]
    np.testing.assert_allclose(returned.positions, here.positions, atol=1e-10)
    np.testing.assert_allclose(returned.cells, here.cells, atol=1e-10)

    log_there = gaussian_log_density(here, forward, slope_here) + np.log(record.acceptance)
    log_back = gaussian_log_density(far, backward, slope_far) + np.log(record_back.acceptance)
    difference = (start.evaluation.energy - end.evaluation.energy) / TEMPERATURE
    return log_there - difference - log_back


def reversed_drift(crystals, displacement, slope, temperature, step_size):
    """Return the proposal density of the official code, where the drift has the wrong sign."""
    drift = slope.scaled(-np.asarray(step_size) / temperature, crystals)
    return -displacement.plus(drift).squared_norm(crystals) / (4.0 * step_size)
