"""Replica exchange: chains at several temperatures that trade places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling import langevin
from ase_continuousp.sampling.coordinates import Coordinates, StrainCoordinates
from ase_continuousp.sampling.displacement import Floats
from ase_continuousp.sampling.following import end_of
from ase_continuousp.sampling.schedule import Geometric, progress
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.warmup import WarmUp


@dataclass(frozen=True)
class ExchangeRecord:
    """What happened in one step and the exchange after it.

    Parameters
    ----------
    step : StepRecord
    is_tried, is_swapped : (n_ladders, n_temperatures - 1) arrays of bool
        Pairs of neighboring temperatures, the hottest first.
    """

    step: langevin.StepRecord
    is_tried: NDArray[np.bool_]
    is_swapped: NDArray[np.bool_]


@dataclass(frozen=True)
class ReplicaExchange:
    """Run each crystal at a ladder of temperatures and let neighbors on it exchange places.

    After every `interval` Langevin steps, chains at neighboring temperatures T and T′ exchange
    their crystals with probability min(1, exp((1/T − 1/T′)(E − E′))) (Swendsen and Wang, Phys.
    Rev. Lett. 57 (1986) 2607, doi:10.1103/PhysRevLett.57.2607). Every rung keeps its own law
    exp(−E/T), and the coldest gets over barriers with the help of the hottest. Pairs (0, 1),
    (2, 3), … and (1, 2), (3, 4), … take turns.

    Parameters
    ----------
    n_steps : int
    n_temperatures : int
        Rungs of the ladder, at least 2.
    temperature, step_size : Geometric
        Of the first, hottest, and of the last, coldest rung.
    coordinates : Coordinates
        In which the crystals move. The measure must not depend on the temperature; that of
        none of the package's coordinates does.
    interval : int
        Langevin steps between exchanges.
    warm_up : WarmUp, optional
        Adapts the step size of each rung, in the first fifth of the run by default; the chains
        keep their law afterwards. None takes the step sizes as given.
    volume_per_atom : (float, float), optional
        A hard wall [Å³], the same for all temperatures.

    Raises
    ------
    ValueError
        If there are less than 2 temperatures, or a number of steps is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.energy_function import Evaluation
    >>> from ase_continuousp.sampling.coordinates import PositionCoordinates
    >>> def well(c):
    ...     energies = 0.5 * np.sum(c.positions**2, axis=1)
    ...     total = np.add.reduceat(energies, c.offsets[:-1])
    ...     return Evaluation(total, energies, -c.positions, np.zeros((c.n_crystals, 3, 3)))
    >>> ladder = ReplicaExchange(
    ...     20, 3, Geometric(1.0, 0.25), Geometric(0.5, 0.1), PositionCoordinates()
    ... )
    >>> start = Crystals.single(np.ones((1, 3)), np.eye(3), [1])
    >>> state = ladder.run(well, start, np.random.default_rng(0))
    >>> state.step, ladder.coldest(state).n_crystals, ladder.temperatures.tolist()
    (20, 1, [1.0, 0.5, 0.25])
    """

    n_steps: int
    n_temperatures: int
    temperature: Geometric
    step_size: Geometric
    coordinates: Coordinates = field(default_factory=StrainCoordinates)
    interval: int = 1
    warm_up: WarmUp | None = field(default_factory=lambda: WarmUp(n_levels=1, fraction=0.2))
    volume_per_atom: tuple[float, float] | None = (1.0, 1000.0)

    def __post_init__(self) -> None:
        """Refuse a ladder without neighbors."""
        if self.n_temperatures < 2:
            raise ValueError(f"n_temperatures must be at least 2: {self.n_temperatures}")
        for name in ("n_steps", "interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive: {getattr(self, name)}")

    @property
    def temperatures(self) -> Floats:
        """Temperatures of the rungs, the hottest first, (n_temperatures,)."""
        return self._rungs(self.temperature)

    def start(
        self, energy: EnergyFunction, crystals: Crystals, rng: np.random.Generator
    ) -> SamplerState:
        """Return the state before the first step: every crystal at every temperature.

        Crystal b of n at rung t is number ``b * n_temperatures + t`` of the state.
        """
        copies = np.repeat(np.arange(crystals.n_crystals), self.n_temperatures)
        return SamplerState.start(crystals.select(copies), energy, rng)

    def steps(
        self, state: SamplerState, energy: EnergyFunction
    ) -> Iterator[tuple[SamplerState, ExchangeRecord]]:
        """Yield state and record of every step that is left: a kept state goes on."""
        n_ladders = state.crystals.n_crystals // self.n_temperatures
        temperature = np.tile(self.temperatures, n_ladders)
        step_size = np.tile(self._rungs(self.step_size), n_ladders)
        while state.step < self.n_steps:
            before = state
            state, record = langevin.step(
                state,
                energy,
                self.coordinates,
                temperature=temperature,
                step_size=step_size,
                volume_bounds=self.volume_per_atom,
            )
            if self.warm_up is not None:
                scale = self.warm_up.update(
                    state.scale, record.acceptance, step=before.step, n_steps=self.n_steps
                )
                state = replace(state, scale=scale)
            is_tried = np.zeros((n_ladders, self.n_temperatures - 1), dtype=bool)
            is_swapped = is_tried
            if state.step % self.interval == 0:
                is_tried = is_tried.copy()
                is_tried[:, (state.step // self.interval) % 2 :: 2] = True
                state, is_swapped = self.exchange(state, is_tried)
            yield state, ExchangeRecord(record, is_tried, is_swapped)

    def run(
        self,
        energy: EnergyFunction,
        crystals: Crystals,
        rng: np.random.Generator,
        *,
        progress: bool = False,
    ) -> SamplerState:
        """Return the state after all steps."""
        state = self.start(energy, crystals, rng)
        return end_of(self.steps(state, energy), state, self.n_steps, progress=progress)

    def exchange(
        self, state: SamplerState, is_tried: NDArray[np.bool_]
    ) -> tuple[SamplerState, NDArray[np.bool_]]:
        """Return the state after exchanges between neighboring temperatures, and which were made.

        Parameters
        ----------
        state : SamplerState
        is_tried : (n_ladders, n_temperatures - 1) array of bool
            Pairs of neighbors; no rung may be in two of them.
        """
        n = self.n_temperatures
        energies = state.evaluation.energy.reshape(-1, n)
        inverse = 1.0 / self.temperatures
        rng = state.generator()
        with np.errstate(invalid="ignore"):
            log_ratio = (inverse[:-1] - inverse[1:]) * (energies[:, :-1] - energies[:, 1:])
        threshold = np.log(rng.random(log_ratio.shape))
        # A comparison with NaN is false: a crystal without energy stays on its rung.
        is_swapped = is_tried & (threshold < log_ratio)
        order = np.arange(energies.size).reshape(energies.shape)
        left, right = order[:, :-1], order[:, 1:]
        chosen = order.copy()
        chosen[:, :-1][is_swapped] = right[is_swapped]
        chosen[:, 1:][is_swapped] = left[is_swapped]
        moved = state.select(chosen.ravel())
        # Counts and step sizes belong to the rung, not to the crystal that visits it.
        state = replace(
            moved, random=rng.bit_generator.state, accepted=state.accepted, scale=state.scale
        )
        return state, is_swapped

    def coldest(self, state: SamplerState) -> Crystals:
        """Return the crystals on the last rung of each ladder."""
        rung = slice(self.n_temperatures - 1, None, self.n_temperatures)
        return state.crystals.select(np.arange(state.crystals.n_crystals)[rung])

    def _rungs(self, schedule: Geometric) -> Floats:
        n = self.n_temperatures
        return np.array([schedule(progress(rung, n)) for rung in range(n)])
