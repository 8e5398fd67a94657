"""What judge and energy say of the known crystals that prototypes were made from.

A structure may look odd to them and be right for a known crystal all the same. What tells is how
much they change with the elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.model.judge import Judge
from ase_continuousp.search.refine import Refined


def with_parents(refined: Sequence[Refined], judge: Judge, energy: EnergyFunction) -> list[Refined]:
    """Return crystals, prototypes with log-odds and energy per atom of their parents.

    Parameters
    ----------
    refined : sequence of Refined
    judge : Judge
    energy : EnergyFunction

    Examples
    --------
    >>> from ase_continuousp import load_model
    >>> from ase_continuousp.model.judge import JUDGE
    >>> model = load_model("mp20")
    >>> with_parents([], Judge.load(model.path / JUDGE), model.energy())
    []
    """
    made = list(refined)
    parents = {
        i: one.start.origin.parent
        for i, one in enumerate(refined)
        if one.start.origin is not None and one.start.origin.parent is not None
    }
    if not parents:
        return made
    batch = Crystals.concatenate([parent for parent in parents.values() if parent is not None])
    odds, energies = judge(batch), energy(batch).energy / batch.counts
    for i, one, two in zip(parents, odds.tolist(), energies.tolist(), strict=True):
        if np.isfinite(one) and np.isfinite(two):
            made[i] = replace(made[i], parent=(one, two))
    return made
