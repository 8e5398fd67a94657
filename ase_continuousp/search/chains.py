"""Starts to the ends of the chains of the paper's sampler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling.mean_energy import MeanEnergy
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.search.refine import Refined, refined_of
from ase_continuousp.starts import StartCrystal


def sample_starts(
    energy: EnergyFunction,
    starts: Sequence[StartCrystal],
    sampler: PaperSampler,
    rng: np.random.Generator,
    *,
    per_crystal: bool = False,
) -> list[Refined]:
    """Return the ends of the chains of the paper's sampler from a batch of starts.

    Their levels of noise mean nothing here: every chain begins at the first temperature.

    Parameters
    ----------
    energy : EnergyFunction
    starts : sequence of StartCrystal
    sampler : PaperSampler
    rng : numpy.random.Generator
    per_crystal : bool
        Whether temperatures are those of the energy over the number of atoms, as in the paper.

    Returns
    -------
    list of Refined, in the order of the starts
    """
    walked: EnergyFunction = MeanEnergy(energy) if per_crystal else energy
    batch = Crystals.concatenate([one.crystals for one in starts])
    state = sampler.start(walked, batch, rng)
    trace = [state.evaluation.energy]
    for reached, _ in sampler.steps(state, walked):
        state = reached
        trace.append(state.evaluation.energy)
    ready = np.ones(len(starts), dtype=bool)
    per_atom = np.array(trace) / (1 if per_crystal else batch.counts)
    found = energy(state.crystals) if per_crystal else state.evaluation
    return refined_of(starts, state.crystals, found, ready, per_atom)
