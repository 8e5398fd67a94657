"""Short annealed Langevin runs and quenches of whole batches, where only the end counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.sampling.displacement import Displacement
from ase_continuousp.sampling.moves import AnnealSettings, displaced, is_converged, scaled_gradients
from ase_continuousp.sampling.quench import quench
from ase_continuousp.sampling.symmetry import SymmetryProjection

Floats = NDArray[np.float64]
Progress = Callable[[int], None]

__all__ = ["AnnealResult", "AnnealSettings", "anneal"]


@dataclass(frozen=True)
class AnnealResult:
    """Crystals at the end of an anneal.

    Parameters
    ----------
    crystals : Crystals
        With Niggli-reduced cells and atoms inside them.
    evaluation : Evaluation
        Of these crystals.
    converged : (n_crystals,) array of bool
        Whether the quench reached the tolerance.
    trace : (n_evaluations, n_crystals) array
        Energy per atom along the way, the end last.
    """

    crystals: Crystals
    evaluation: Evaluation
    converged: NDArray[np.bool_]
    trace: Floats


def anneal(
    energy: EnergyFunction,
    crystals: Crystals,
    settings: AnnealSettings,
    rng: np.random.Generator,
    *,
    noise: ArrayLike | None = None,
    progress: Progress | None = None,
    symmetry: SymmetryProjection | None = None,
) -> AnnealResult:
    """Anneal and quench a batch of crystals.

    With gradients g = ℓ ∂U/∂r and G = (c/N) ∂U/∂ε, step i of n moves atoms and cells by::

        Δr/ℓ = −a_i g + k_i ξ,    ε = c (−a_i G + k_i Ξ/√N),
        a_i = α (s_i + s₀),    k_i² = α (2 − α) s_i²

    with standard normal ξ and symmetric Ξ (unit Frobenius variance), L ← L exp(ε) at fixed
    fractional coordinates: noise of one size in the metric |Δr/ℓ|² + N |ε/c|². The model was
    trained to have the gradient s/(s + s₀) where a crystal is s away from the truth (see
    :class:`ase_continuousp.training.objectives.score.ScoreMatching`), so the drift goes a share
    α of the way back and the noise keeps the crystal at the level s_i, which falls linearly.
    Settings may ask for the crystal to be heated again after its quench, cooled and quenched, some
    times; of the minima of its path the lowest is kept.
    There is no Metropolis correction, because only the end counts. Each crystal draws from a
    stream of its own, so its path does not depend on its neighbors in the batch.

    Parameters
    ----------
    energy : EnergyFunction
    crystals : Crystals
        Where to start.
    settings : AnnealSettings
    rng : numpy.random.Generator
    noise : (n_crystals,) array, optional
        Level s of the first step of each crystal; 0 only quenches it.
    progress : callable, optional
        Called with the number of steps done, after each.
    symmetry : SymmetryProjection, optional
        Keeps each crystal in its space group, cell and positions.

    Returns
    -------
    AnnealResult

    Examples
    --------
    >>> import torch
    >>> from ase_continuousp.model.continuous import ContinuousEnergy
    >>> from ase_continuousp.model.derivatives import ModelEnergy
    >>> energy = ModelEnergy(ContinuousEnergy(channels=8, vector_channels=4))
    >>> po = Crystals.single([[0, 0, 0]], 3 * np.eye(3), [84])
    >>> short = AnnealSettings(n_steps=2, quench_steps=2)
    >>> anneal(energy, po, short, np.random.default_rng(0)).trace.shape[1]
    1
    """
    start = np.full(crystals.n_crystals, settings.level) if noise is None else noise
    start = np.broadcast_to(np.asarray(start, dtype=np.float64), (crystals.n_crystals,))
    if symmetry is not None:
        energy = symmetry.symmetric(energy)
    run = _Run(energy, settings, rng.spawn(crystals.n_crystals), symmetry, progress)
    found = energy(crystals)
    run.trace.append(found.energy / crystals.counts)
    crystals, found = run.descend(crystals, found, start, settings.n_steps)
    heated = start > 0
    for _ in range(settings.reheats if heated.any() else 0):
        level = np.where(heated, settings.reheat_level, 0.0)
        if symmetry is None:  # whose operations are those of this cell
            crystals = reduce_crystals(crystals).wrapped()
            found = energy(crystals)
        other, there = run.descend(crystals, found, level, settings.reheat_steps)
        lower = heated & there.is_finite & ~(there.energy >= found.energy)
        found = there.where(lower, found, crystals.crystal_index)
        crystals = other.where(lower, crystals)
        run.trace.append(found.energy / crystals.counts)
    converged = is_converged(crystals, found, settings)
    # A crystal without finite energy was never moved there, so every cell can be reduced.
    crystals = reduce_crystals(crystals).wrapped()
    found = energy(crystals)
    return AnnealResult(crystals, found, converged & found.is_finite, np.array(run.trace))


@dataclass
class _Run:
    """What the descents of one anneal share."""

    energy: EnergyFunction
    settings: AnnealSettings
    streams: Sequence[np.random.Generator]
    symmetry: SymmetryProjection | None
    progress: Progress | None
    trace: list[Floats] = field(default_factory=list)
    done: int = 0

    def descend(
        self, crystals: Crystals, found: Evaluation, start: Floats, n_steps: int
    ) -> tuple[Crystals, Evaluation]:
        """Cool from the levels of the start and quench."""
        settings, energy = self.settings, self.energy
        draws = draw_noise(crystals, n_steps, self.streams)
        if self.symmetry is not None:
            kept = [self.symmetry(crystals, Displacement(*draw)) for draw in draws]
            draws = [(one.atoms, one.cells) for one in kept]
        for i in range(n_steps):
            level = start + (np.minimum(start, settings.lowest_level) - start) * i / n_steps
            # A crystal that is only to be quenched waits for the others to cool down.
            drift = np.where(start > 0, settings.step * (level + settings.saturation), 0.0)
            kick = np.sqrt(settings.step * (2.0 - settings.step)) * level
            crystals, found = _step(energy, crystals, found, settings, drift, kick, draws[i])
            self.trace.append(found.energy / crystals.counts)
            if self.progress is not None:
                self.progress(self.done + i + 1)
        self.done += n_steps
        crystals, found, quenched = quench(
            energy, crystals, found, settings, progress=self.progress, done=self.done
        )
        self.trace += quenched
        self.done += len(quenched)
        return crystals, found


def _step(
    energy: EnergyFunction,
    crystals: Crystals,
    found: Evaluation,
    settings: AnnealSettings,
    drift: Floats,
    kick: Floats,
    draw: tuple[Floats, Floats],
) -> tuple[Crystals, Evaluation]:
    g, strain_g = scaled_gradients(crystals, found, settings.strain_scale)
    index = crystals.crystal_index
    moves = -drift[index, None] * g + kick[index, None] * draw[0]
    shake = kick / np.sqrt(crystals.counts)
    strains = -drift[:, None, None] * strain_g + shake[:, None, None] * draw[1]
    moved = displaced(crystals, moves, strains, settings)[0]
    # A crystal whose gradient is not finite stays where it is.
    moved = moved.where(found.is_finite, crystals)
    return moved, energy(moved)


def draw_noise(
    crystals: Crystals, n_steps: int, streams: Sequence[np.random.Generator]
) -> list[tuple[Floats, Floats]]:
    """Return normal noise of atoms, without its mean, and of cells, symmetric, for every step.

    Each crystal draws from its own of the streams.
    """
    atoms = np.empty((n_steps, crystals.n_atoms, 3))
    cells = np.empty((n_steps, crystals.n_crystals, 3, 3))
    for b, stream in enumerate(streams):
        first, last = crystals.offsets[b : b + 2]
        own = stream.standard_normal((n_steps, last - first, 3))
        atoms[:, first:last] = own - own.mean(axis=1, keepdims=True)
        cells[:, b] = stream.standard_normal((n_steps, 3, 3))
    symmetric = 0.5 * (cells + np.swapaxes(cells, 2, 3))
    return list(zip(atoms, symmetric, strict=True))
