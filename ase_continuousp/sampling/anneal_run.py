"""One annealed run of one ASE system: state, best structure and reasons to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize.optimize import RestartError
from ase.utils.abc import Optimizable

from ase_continuousp.crystals import Crystals
from ase_continuousp.sampling import checkpoint
from ase_continuousp.sampling.ase_system import AseSystem
from ase_continuousp.sampling.descent import descend
from ase_continuousp.sampling.displacement import Floats
from ase_continuousp.sampling.history import INFO
from ase_continuousp.sampling.plan import AnnealPlan
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.watch import Watch

logger = logging.getLogger(__name__)


class AnnealRun:
    """Advance one system through a plan: Langevin steps of the schedule, then descent.

    Parameters
    ----------
    system : AseSystem
    plan : AnnealPlan
    rng : numpy.random.Generator
    describe : callable, optional
        Another description of the same crystal, applied to the start and every proposal.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase_continuousp.sampling.schedule import Geometric
    >>> atoms = bulk("Cu")
    >>> atoms.calc = EMT()
    >>> plan = AnnealPlan(9, Geometric(0.1, 0.01), Geometric(1e-3, 1e-4), None, (1.0, 1000.0))
    >>> run = AnnealRun(AseSystem(atoms, move_cell=True), plan, np.random.default_rng(0))
    >>> for _ in range(9):
    ...     run.advance()
    >>> run.is_annealed, run.state.step, run.stop_reason
    (True, 9, None)
    """

    def __init__(
        self,
        system: AseSystem,
        plan: AnnealPlan,
        rng: np.random.Generator,
        describe: Callable[[Crystals], Crystals] | None = None,
    ) -> None:
        self.system = system
        self.plan = plan
        self._describe = describe
        self._rng = rng
        self._state: SamplerState | None = None
        self._results: dict[str, Any] = {}
        self._place: tuple[Floats, Floats] | None = None
        self._best_energy = np.inf
        self._best: Atoms | None = None
        self._rate = np.array([0.01])
        self._watch = Watch.start(np.array([True]))

    @property
    def stop_reason(self) -> str | None:
        """Why the run ended before its schedule, or None."""
        return self._watch.reasons[0]

    @property
    def state(self) -> SamplerState:
        """The state of the chain, evaluated at the present atoms if they were moved by hand."""
        place = self.system.place_now()
        if self._state is None or self._place is None:
            self._state = SamplerState.start(self._here(), self.system, self._rng)
            self._start_here()
            if self.stop_reason is None:
                self._state = self.plan.begin(self._state, self.system.coordinates)
        elif not all(map(np.array_equal, place, self._place)):
            crystals = self._here()
            self._state = replace(self._state, crystals=crystals, evaluation=self.system(crystals))
            self._start_here()
        return self._state

    @property
    def n_done(self) -> int:
        """Steps done, without evaluating anything."""
        return 0 if self._state is None else self._state.step

    @property
    def is_annealed(self) -> bool:
        """Whether all steps of the schedule are done."""
        return self.n_done >= self.plan.n_steps

    @property
    def scale(self) -> float:
        """Factor of the warm-up on the step size."""
        return 1.0 if self._state is None else float(self._state.scale[0])

    @property
    def acceptance_rate(self) -> float:
        """Share of accepted steps of the schedule; 0 before the first."""
        n_steps = min(self.n_done, self.plan.n_steps)
        return 0.0 if self._state is None else float(self._state.accepted[0]) / max(1, n_steps)

    @property
    def best(self) -> tuple[float, Atoms]:
        """Lowest energy seen and its structure, with results."""
        if self._best is None:
            _ = self.state
        assert self._best is not None
        return self._best_energy, self._best

    def snapshot(self) -> Atoms:
        """Return a copy of the present structure with its results."""
        _ = self.state
        return self.system.snapshot(self._results)

    def describe(self) -> dict[str, float]:
        """Return where the run is: steps done and accepted, temperature and step size to come."""
        n_done = self.n_done
        accepted = 0 if self._state is None else int(self._state.accepted[0])
        return {
            "step": n_done,
            "accepted": accepted,
            "temperature": self.plan.temperature_at(n_done),
            "step_size": self.scale * self.plan.step_size_at(n_done),
            "best_energy": float(self.best[0]),
        }

    def gradient(self) -> Floats:
        """Return the rows by which convergence is judged."""
        state = self.state
        return self.system.slope_rows(state.crystals, state.evaluation)

    def advance(self) -> None:
        """Do one step and judge the result."""
        state = self.state
        if self.stop_reason is not None:
            return
        cache = self.system.cached()
        if self.is_annealed:
            new, self._rate, taken = descend(
                state, self.system, self.system.coordinates, self._rate
            )
            is_taken, is_finite = bool(taken[0]), np.array([True])
        else:
            new, record = self.plan.advance(
                state,
                self.system,
                self.system.coordinates,
                has_wall=self.system.moves_cell,
                describe=self._describe,
            )
            is_taken, is_finite = bool(record.is_accepted[0]), record.is_finite
        self._state = new
        if is_taken:
            self._take()
        else:
            self.system.put_back(new.crystals, cache)
        self._place = self.system.place_now()
        volume = self.system.volume_per_atom()
        self._judge(
            self._watch.after(
                is_finite,
                None if volume is None else np.array([volume]),
                self.plan.volume_per_atom,
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        state = self.state
        energy, best = self.best
        assert best.calc is not None
        return {
            "state": checkpoint.state_to_dict(state),
            "results": self._results,
            "place": list(self.system.place_now()),
            "temperature": self.plan.temperature_at(state.step),
            "rate": self._rate,
            "n_broken": int(self._watch.n_broken[0]),
            "best_energy": energy,
            "best_place": [best.positions, best.cell.array],
            "best_results": best.calc.results,
        }

    def load_dict(self, data: dict[str, Any]) -> None:
        """Take up a run written by `to_dict`, and move the atoms there."""
        self._state = checkpoint.state_from_dict(data["state"])
        self._results = data["results"]
        self._rate = data["rate"]
        self._watch = Watch(np.array([int(data["n_broken"])]), (None,))
        self.system.place(self._state.crystals)
        self._place = self.system.place_now()
        if not all(map(np.array_equal, self._place, data["place"])):
            raise RestartError(
                "restart file does not fit the atoms: start from the structure, constraints and "
                "filter of the first run"
            )
        self._best_energy = float(data["best_energy"])
        positions, cell = data["best_place"]
        self._best = self.system.snapshot(data["best_results"], (positions, cell))

    def _here(self) -> Crystals:
        crystals = self.system.crystals()
        return crystals if self._describe is None else self._describe(crystals)

    def _start_here(self) -> None:
        assert self._state is not None
        volume = self.system.volume_per_atom()
        low, high = self.plan.volume_per_atom
        if volume is not None and not low <= volume <= high:
            raise ValueError(
                f"volume_per_atom must hold the start: {volume:.4g} Å³ is outside ({low}, {high})"
            )
        self._place = self.system.place_now()
        self._results = self.system.results
        rows = self.system.slope_rows(self._state.crystals, self._state.evaluation)
        if not (np.isfinite(self._state.evaluation.energy[0]) and np.isfinite(rows).all()):
            self._judge(Watch.start(np.array([False])))
        self._take_best()

    def _take(self) -> None:
        self._results = self.system.results
        self._take_best()

    def _take_best(self) -> None:
        assert self._state is not None
        energy = float(self._state.evaluation.energy[0])
        if self._best is None or energy < self._best_energy:
            self._best_energy = energy
            self._best = self.system.snapshot(self._results)

    def _judge(self, watch: Watch) -> None:
        self._watch = watch
        if self.stop_reason is not None:
            logger.warning("annealed run stopped after %d steps: %s", self.n_done, self.stop_reason)


class RunOptimizable(Optimizable):
    """The state of the chain behind ASE's view of an optimization.

    After a refused step the calculator has last seen the proposal: asking it for the forces of
    the state would cost a second evaluation.
    """

    def __init__(self, run: AnnealRun, system: AseSystem) -> None:
        self._run = run
        self._system = system

    def ndofs(self) -> int:
        """Return the length of the gradient."""
        return int(self._run.gradient().size)

    def get_x(self) -> Floats:
        """Return where the atoms are."""
        x: Floats = self._system.optimizable.get_x()
        return x

    def set_x(self, x: Floats) -> None:
        """Move the atoms; the run notices."""
        self._system.optimizable.set_x(x)

    def get_gradient(self) -> Floats:
        """Return the gradient by which convergence is judged."""
        return self._run.gradient().ravel()

    def get_value(self) -> float:
        """Return the energy of the state of the chain."""
        return float(self._run.state.evaluation.energy[0])

    def iterimages(self) -> Iterator[Atoms]:
        """Yield the structure with its results and where its run is, for trajectories."""
        image = self._run.snapshot()
        image.info[INFO] = self._run.describe()
        yield image
