"""Population annealing: many chains that are multiplied or dropped by weight as it gets colder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from ase_continuousp.crystals import Crystals, Integers
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling import langevin
from ase_continuousp.sampling.coordinates import Coordinates, StrainCoordinates
from ase_continuousp.sampling.displacement import Floats
from ase_continuousp.sampling.following import end_of
from ase_continuousp.sampling.schedule import Geometric, progress
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.warmup import WarmUp


@dataclass(frozen=True)
class Population:
    """Populations of chains in the middle of their anneal.

    Parameters
    ----------
    state : SamplerState
        All chains, those of one population together.
    family : (n_populations, size) array of int
        First ancestor of each chain: how many are left says how far to trust the weights.
    log_ratio : (n_populations,) array
        Estimate of log Z(T) − log Z(T₀), Z the integral of exp(−E/T).
    """

    state: SamplerState
    family: Integers
    log_ratio: Floats


@dataclass(frozen=True)
class PopulationAnnealing:
    """Anneal a population of chains for each crystal, resampled at every change of temperature.

    From T to T′ each chain gets the weight w = exp(−(1/T′ − 1/T) E); the population is drawn anew
    by these weights (systematic resampling) and then moves by Langevin steps at T′ (Hukushima and
    Iba, AIP Conf. Proc. 690 (2003) 200, doi:10.1063/1.1632130; Machta, Phys. Rev. E 82 (2010)
    026704, doi:10.1103/PhysRevE.82.026704). Where an annealed chain stays in the basin that it
    fell into, a population has in each basin the share that is due to it: chains in the lower one
    multiply. It starts with steps at the first temperature, which should be high enough to get
    over all barriers.

    Parameters
    ----------
    size : int
        Chains for each crystal.
    n_levels : int
        Temperatures.
    n_steps_per_level : int
        Langevin steps at each of them.
    temperature, step_size : Geometric
    coordinates : Coordinates
        In which the crystals move. The measure must not depend on the temperature; that of
        none of the package's coordinates does.
    warm_up : WarmUp, optional
        Adapts one step size for each population, in the first part of every level, by its mean
        acceptance: one for all, since a step size that knew where its chain is would bias the
        law. None takes the step sizes as given.
    volume_per_atom : (float, float), optional
        A hard wall [Å³].

    Raises
    ------
    ValueError
        If a number is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.energy_function import Evaluation
    >>> from ase_continuousp.sampling.coordinates import PositionCoordinates
    >>> def well(c):
    ...     energies = 0.5 * np.sum(c.positions**2, axis=1)
    ...     total = np.add.reduceat(energies, c.offsets[:-1])
    ...     return Evaluation(total, energies, -c.positions, np.zeros((c.n_crystals, 3, 3)))
    >>> annealing = PopulationAnnealing(
    ...     200, 3, 10, Geometric(1.0, 0.25), Geometric(0.5, 0.1), PositionCoordinates()
    ... )
    >>> end = annealing.run(
    ...     well, Crystals.single(np.ones((1, 3)), np.eye(3), [1]), np.random.default_rng(0)
    ... )
    >>> end.state.step, end.family.shape, bool(abs(end.log_ratio[0] - 1.5 * np.log(0.25)) < 0.3)
    (30, (1, 200), True)
    """

    size: int
    n_levels: int
    n_steps_per_level: int
    temperature: Geometric
    step_size: Geometric
    coordinates: Coordinates = field(default_factory=StrainCoordinates)
    warm_up: WarmUp | None = field(default_factory=lambda: WarmUp(n_levels=1))
    volume_per_atom: tuple[float, float] | None = (1.0, 1000.0)

    def __post_init__(self) -> None:
        """Refuse an empty population or schedule."""
        for name in ("size", "n_levels", "n_steps_per_level"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive: {getattr(self, name)}")

    @property
    def n_steps(self) -> int:
        """Langevin steps of all levels."""
        return self.n_levels * self.n_steps_per_level

    def start(
        self, energy: EnergyFunction, crystals: Crystals, rng: np.random.Generator
    ) -> Population:
        """Return the populations before the first step: `size` copies of every crystal."""
        copies = np.repeat(np.arange(crystals.n_crystals), self.size)
        return Population(
            state=SamplerState.start(crystals.select(copies), energy, rng),
            family=np.tile(np.arange(self.size), (crystals.n_crystals, 1)),
            log_ratio=np.zeros(crystals.n_crystals),
        )

    def steps(
        self, population: Population, energy: EnergyFunction
    ) -> Iterator[tuple[Population, langevin.StepRecord]]:
        """Yield populations and record of every step that is left: kept ones go on."""
        while population.state.step < self.n_steps:
            level, since = divmod(population.state.step, self.n_steps_per_level)
            temperature = self.temperature(progress(level, self.n_levels))
            if level > 0 and since == 0:
                before = self.temperature(progress(level - 1, self.n_levels))
                population = self.resample(population, before, temperature)
            state, record = langevin.step(
                population.state,
                energy,
                self.coordinates,
                temperature=temperature,
                step_size=self.step_size(progress(level, self.n_levels)),
                volume_bounds=self.volume_per_atom,
            )
            if self.warm_up is not None:
                mean = np.repeat(record.acceptance.reshape(-1, self.size).mean(axis=1), self.size)
                scale = self.warm_up.update(
                    state.scale, mean, step=since, n_steps=self.n_steps_per_level
                )
                state = replace(state, scale=scale)
            population = replace(population, state=state)
            yield population, record

    def run(
        self,
        energy: EnergyFunction,
        crystals: Crystals,
        rng: np.random.Generator,
        *,
        progress: bool = False,
    ) -> Population:
        """Return the populations after all steps."""
        population = self.start(energy, crystals, rng)
        return end_of(self.steps(population, energy), population, self.n_steps, progress=progress)

    def resample(self, population: Population, before: float, after: float) -> Population:
        """Return the populations drawn by their weights for another temperature.

        Parameters
        ----------
        population : Population
        before, after : float
            Temperature of the chains, and that of the weights.
        """
        state = population.state
        energies = state.evaluation.energy.reshape(-1, self.size)
        log_weight = -(1.0 / after - 1.0 / before) * energies
        # A chain without energy has no weight; where none has one, nothing is drawn.
        log_weight = np.where(np.isfinite(energies), log_weight, -np.inf)
        is_lost = ~np.isfinite(log_weight).any(axis=1, keepdims=True)
        log_weight = np.where(is_lost, 0.0, log_weight)
        largest = log_weight.max(axis=1, keepdims=True)
        weight = np.exp(log_weight - largest)
        rng = state.generator()
        offsets = rng.random(len(weight))
        drawn = np.array([systematic(w, u) for w, u in zip(weight, offsets, strict=True)])
        first = self.size * np.arange(len(drawn))[:, None]
        chosen = state.select((first + drawn).ravel())
        return Population(
            state=replace(chosen, random=rng.bit_generator.state),
            family=np.take_along_axis(population.family, drawn, axis=1),
            log_ratio=population.log_ratio + np.log(weight.mean(axis=1)) + largest[:, 0],
        )


def systematic(weights: ArrayLike, offset: float) -> Integers:
    """Return as many indices as there are weights, each n w / Σw times up to rounding.

    The points (k + u)/n, k = 0 … n−1, are looked up in the cumulated weights: every index is drawn
    ⌊n w / Σw⌋ or ⌈n w / Σw⌉ times, and n w / Σw times on average over a uniform u.

    Parameters
    ----------
    weights : (n,) array
        Not negative, not all zero.
    offset : float
        u, in [0, 1).

    Examples
    --------
    >>> systematic([0.0, 3.0, 1.0, 0.0], 0.5).tolist()
    [1, 1, 1, 2]
    """
    cumulated = np.cumsum(np.asarray(weights, dtype=np.float64))
    n = len(cumulated)
    points = (np.arange(n) + offset) / n * cumulated[-1]
    indices = np.searchsorted(cumulated, points, side="right")
    # Rounding may push the last point onto the end; the last index with a weight is meant.
    last = int(np.searchsorted(cumulated, cumulated[-1], side="left"))
    drawn: Integers = np.minimum(indices, last).astype(np.int64)
    return drawn
