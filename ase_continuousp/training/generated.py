"""What a model generates for known compositions, beside prototypes: more to learn a judge from."""

from __future__ import annotations

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel
from ase_continuousp.search.jobs import refine_all
from ase_continuousp.search.refine import anneal_settings
from ase_continuousp.search.sources import sources_of_model


def generated_for(
    trained: TrainedModel, crystals: Crystals, *, n_chains: int, seed: int
) -> list[list[Crystals]]:
    """Return the ends of chains from random starts for the composition of each crystal.

    Parameters
    ----------
    trained : TrainedModel
    crystals : Crystals
    n_chains : int
        For each of them; those that went astray are left out.
    seed : int

    Returns
    -------
    list of list of Crystals
    """
    random = sources_of_model(trained.path, "random")
    starts = [
        random.generate(one.numbers, n_chains, np.random.default_rng([seed, index]))
        for index, one in enumerate(crystals)
    ]
    refined = iter(
        refine_all(
            trained,
            [start for some in starts for start in some],
            anneal_settings(trained),
            seed=seed,
            device="cpu",
            with_basins=False,
        )
    )
    found = [[next(refined) for _ in some] for some in starts]
    return [[one.crystals for one in some if one.is_finite] for some in found]
