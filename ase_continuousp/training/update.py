"""One update of the parameters."""

from __future__ import annotations

import math

from ase_continuousp.crystals import Crystals
from ase_continuousp.training.batches import Batches
from ase_continuousp.training.config import TrainConfig
from ase_continuousp.training.objectives.interface import Objective
from ase_continuousp.training.precision.interface import Precision
from ase_continuousp.training.ranks import Ranks
from ase_continuousp.training.run_state import RunState
from ase_continuousp.training.schedules import schedule


def update(
    config: TrainConfig,
    state: RunState,
    crystals: Crystals,
    objective: Objective,
    precision: Precision,
    batches: Batches,
    ranks: Ranks,
) -> dict[str, float]:
    """Make one update and return what is to be logged of it.

    A batch is taken in passes of at most `micro_batch` crystals each, whose gradients add up.
    """
    state.optimizer.zero_grad()
    n_passes = math.ceil(config.batch_size / ranks.count / config.pass_size)
    sums = [0.0] * len(objective.parts)
    for number in range(n_passes):
        index = ranks.index * n_passes + number
        part = batches.part(state.step, index, ranks.count * n_passes)
        chosen = crystals.select(part.rows)
        drawn = objective.draw(chosen, part.streams(chosen))
        with precision.passing(state.network):
            losses = objective.accumulate(
                state.network, drawn, precision.dtype, part, precision.scale
            )
        sums = [a + b for a, b in zip(sums, losses, strict=True)]
    terms = ranks.sum_gradients(list(state.network.parameters()), tuple(sums))
    if not math.isfinite(sum(terms)):
        raise ValueError(
            f"the loss is not finite at step {state.step + 1}: lower learning_rate "
            f"(now {config.learning_rate}) and resume from the last checkpoint"
        )
    rate = config.learning_rate * schedule(state.step, config.steps, config.warmup, config.decay)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    made = precision.step(state.network, state.optimizer, config.clip)
    state.step += 1
    state.update_average(config.ema, precision.blend)
    return {"learning_rate": rate, **dict(zip(objective.parts, terms, strict=True)), **made}
