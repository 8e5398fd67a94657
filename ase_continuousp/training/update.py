"""One update of the parameters."""

from __future__ import annotations

import math

import torch

from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.training.batches import Batches
from ase_continuousp.training.config import TrainConfig
from ase_continuousp.training.objectives.interface import Objective
from ase_continuousp.training.precision.interface import Precision
from ase_continuousp.training.ranks import Ranks
from ase_continuousp.training.run_state import RunState
from ase_continuousp.training.schedules import schedule
from ase_continuousp.training.stopping import NotFiniteError
from ase_continuousp.training.store import CrystalFiles


def update(
    config: TrainConfig,
    state: RunState,
    crystals: CrystalFiles,
    objective: Objective,
    precision: Precision,
    batches: Batches,
    ranks: Ranks,
) -> dict[str, float]:
    """Make one update and return what is to be logged of it.

    A batch is taken in passes of at most `micro_batch` crystals each, whose gradients add up.

    Raises
    ------
    NotFiniteError
        If the loss, or a gradient that has been applied, is not finite.
    """
    state.optimizer.zero_grad()
    n_passes = math.ceil(config.batch_size / ranks.count / config.pass_size)
    sums = [0.0] * len(objective.parts)
    for number in range(n_passes):
        index = ranks.index * n_passes + number
        part = batches.part(state.step, index, ranks.count * n_passes)
        chosen = reduce_crystals(crystals.select(part.rows))
        drawn = objective.draw(chosen, part.streams(chosen))
        with precision.passing(state.network):
            losses = objective.accumulate(
                state.network, drawn, precision.dtype, part, precision.scale
            )
        sums = [a + b for a, b in zip(sums, losses, strict=True)]
    terms = ranks.sum_gradients(list(state.network.parameters()), tuple(sums))
    if not math.isfinite(sum(terms)):
        raise _not_finite("loss", config, state, batches)
    rate = config.learning_rate * schedule(state.step, config.steps, config.warmup, config.decay)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    made = precision.step(state.network, state.optimizer, config.clip)
    # A precision may leave such an update out, and then the weights are sound.
    if not math.isfinite(made["norm"]) and not _is_finite(state.network):
        raise _not_finite("gradient", config, state, batches)
    state.step += 1
    state.update_average(config.ema, precision.blend)
    return {"learning_rate": rate, **dict(zip(objective.parts, terms, strict=True)), **made}


def _is_finite(network: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in network.parameters())


def _not_finite(
    what: str, config: TrainConfig, state: RunState, batches: Batches
) -> NotFiniteError:
    rows = batches.rows(state.step).tolist()
    return NotFiniteError(what, state.step + 1, rows, config.learning_rate)
