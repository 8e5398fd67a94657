"""Starts to the ends of the chains of the paper's sampler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.search.refine import Refined, refined_of
from ase_continuousp.starts import StartCrystal


def sample_starts(
    energy: EnergyFunction,
    starts: Sequence[StartCrystal],
    sampler: PaperSampler,
    rng: np.random.Generator,
) -> list[Refined]:
    """Return the ends of the chains of the paper's sampler from a batch of starts.

    Their levels of noise mean nothing here: every chain begins at the first temperature.

    Parameters
    ----------
    energy : EnergyFunction
    starts : sequence of StartCrystal
    sampler : PaperSampler
    rng : numpy.random.Generator

    Returns
    -------
    list of Refined, in the order of the starts
    """
    state = sampler.start(energy, Crystals.concatenate([one.crystals for one in starts]), rng)
    trace = [state.evaluation.energy]
    for reached, _ in sampler.steps(state, energy):
        state = reached
        trace.append(state.evaluation.energy)
    ready = np.ones(len(starts), dtype=bool)
    per_atom = np.array(trace) / state.crystals.counts
    return refined_of(starts, state.crystals, state.evaluation, ready, per_atom)
