"""Annealed Langevin sampling of one Atoms as an ASE optimizer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.filters import Filter
from ase.optimize.optimize import DEFAULT_MAX_STEPS, Optimizer

from ase_continuousp.arguments import check_count, check_seed
from ase_continuousp.crystals import Crystals
from ase_continuousp.niggli import reduce_crystals, straightened
from ase_continuousp.sampling import checkpoint
from ase_continuousp.sampling.anneal_run import AnnealRun, RunOptimizable
from ase_continuousp.sampling.ase_system import AseSystem
from ase_continuousp.sampling.constraints import keeps_basis
from ase_continuousp.sampling.coordinates import FlatCoordinates
from ase_continuousp.sampling.displacement import Floats
from ase_continuousp.sampling.paper import check_free, check_preset
from ase_continuousp.sampling.plan import AnnealPlan
from ase_continuousp.sampling.schedule import Geometric, positive_pair
from ase_continuousp.sampling.warmup import WarmUp


class AnnealedLangevin(Optimizer):
    """Search for low-energy structures by annealed Metropolis-adjusted Langevin steps.

    Works with any ASE calculator. In each of `n_steps` steps the positions, and with `move_cell`
    the cell, are displaced by drift and noise, and the move is accepted or refused so that
    exp(−E/T) is the stationary density at a fixed temperature T (equations:
    `ase_continuousp.sampling.langevin.step`; coordinates and measure:
    `ase_continuousp.sampling.coordinates`). Temperature and step size fall geometrically.

    Parameters
    ----------
    atoms : ase.Atoms or ase.filters.Filter
        Left at the last state of the chain; see `best_atoms` for the lowest.
    n_steps : int
        Steps of the schedule, one energy evaluation each.
    temperature : (float, float)
        First and last k_B T, in the energy unit of the calculator: eV for ASE calculators (1 eV is
        11,600 K), no unit for a learned energy. Never in Kelvin.
    step_size : (float, float)
        First and last η [Å²], the largest allowed. Noise displaces each coordinate by √(2η): 1 Å
        at η = 0.5. An energy of curvature k takes steps up to about η = T/k, which for stiff
        energies is far less: in the first half of each of 20 levels the step is shortened until
        the acceptance is near `target_acceptance`, and kept in the second half.
    move_cell : bool
        Also strain the cell; needs a crystal, periodic in three directions, and a calculator with
        stress. Not used when `atoms` is a filter. A cell that was sheared far is described by
        shorter vectors of the same lattice (Niggli reduction; no atom moves, the chain does not
        notice), except with FixSymmetry, which holds for one choice of vectors.
    seed : int, optional
        Same seed, same run. Without one, a fresh seed is drawn and shared among MPI ranks.
    restart : str or Path, optional
        JSON file written after every step by write-then-rename. When it exists, the run goes on
        from it (schedule, random stream, best, positions, cell, `nsteps`), bit for bit; with
        ``append_trajectory=True`` the trajectory goes on without a missing or doubled frame.
        A run of other settings, another calculator or, where one is given, another seed is refused.
    logfile, trajectory, append_trajectory, loginterval
        As for every ASE optimizer; `loginterval` thins the trajectory.
    target_acceptance : float, optional
        None takes the step sizes exactly as given.
    preset : {"paper"}, optional
        The sampler of arXiv 2502.02026: steps in all nine entries of the cell and all positions,
        step sizes as given (`target_acceptance` has no effect), every proposal Niggli-reduced.
        The defaults of `n_steps`, `temperature` and `step_size` are the paper's. For crystals
        without constraints.
    pressure : float
        External pressure [energy/Å³] on a cell that moves: E + pV is sampled and reported.
    volume_per_atom : (float, float)
        A cell outside these bounds [Å³] ends the run as collapsed or exploded.
    **kwargs
        `comm` and `master` of the ASE base class.

    Attributes
    ----------
    best_atoms : ase.Atoms
        Copy of the lowest structure seen, with its results.
    best_energy : float
    acceptance_rate : float
        Of the steps of the schedule.
    stop_reason : str or None
        Why a run ended early: energy or forces not finite, collapse or explosion.

    Raises
    ------
    TypeError
        If `atoms` are none, or a number of steps or the seed is no whole number.
    ValueError
        For a value out of its range, a cell that cannot move, or a constraint other than FixAtoms,
        FixCartesian, FixedLine, FixedPlane, FixCom and FixSymmetry.
    ase.optimize.optimize.RestartError
        If the restart file is of another run.

    Notes
    -----
    *When a run is done.* ``run()`` ends with the schedule. ``run(fmax=...)`` goes on after the
    schedule with noiseless descent until the largest force (and, with `move_cell`, the largest row
    of V σ / N) is below `fmax`. A low force in the middle of the anneal means nothing and never
    ends it. ``run(steps=n)`` does n steps, and a second run goes on.

    *Constraints* hold exactly, as noise and drift are projected orthogonally. While the cell
    moves, FixAtoms keeps Cartesian positions. *Filters* are sampled in their generalized
    coordinates, with the flat measure of these; prefer `move_cell`, whose law does not depend on
    the first cell.

    *Reproducibility.* The calculator is reset before each evaluation, since skins of neighbor
    lists make results depend on the path in the last digits. Set ``keep_history = True`` on a
    subclass to keep, for instance, wave functions between steps.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", a=3.9)
    >>> atoms.calc = EMT()
    >>> anneal = AnnealedLangevin(
    ...     atoms, n_steps=60, temperature=(0.1, 1e-3), seed=0, logfile=None
    ... )
    >>> anneal.run(fmax=0.01)
    True
    >>> round(float(anneal.best_energy), 2), round(float(anneal.best_atoms.get_volume()), 1)
    (-0.01, 11.6)
    """

    keep_history = False

    def __init__(
        self,
        atoms: Atoms | Filter,
        *,
        n_steps: int = 1000,
        temperature: tuple[float, float] = (1.0, 1e-3),
        step_size: tuple[float, float] = (0.5, 5e-4),
        move_cell: bool = True,
        seed: int | None = None,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: str | Path | Any | None = None,
        append_trajectory: bool = False,
        loginterval: int = 1,
        target_acceptance: float | None = 0.574,
        preset: str | None = None,
        pressure: float = 0.0,
        volume_per_atom: tuple[float, float] = (1.0, 1000.0),
        **kwargs: Any,
    ) -> None:
        check_preset(preset)
        if preset is not None:
            check_free(atoms, move_cell=move_cell)
            target_acceptance = None
        for name, count in (("n_steps", n_steps), ("loginterval", loginterval)):
            check_count(name, count)
        if seed is not None:
            check_seed(seed)
        self._plan = AnnealPlan(
            n_steps=int(n_steps),
            temperature=Geometric(*positive_pair("temperature", temperature)),
            step_size=Geometric(*positive_pair("step_size", step_size)),
            warm_up=None if target_acceptance is None else WarmUp(target=target_acceptance),
            volume_per_atom=positive_pair("volume_per_atom", volume_per_atom),
        )
        self._seed = None if seed is None else int(seed)
        self._loginterval = int(loginterval)
        self._append_trajectory = append_trajectory
        self._n_frames_before = 0
        self._is_opened = False
        self._system = AseSystem(
            atoms,
            move_cell=move_cell,
            pressure=pressure,
            coordinates=None if preset is None else FlatCoordinates(),
            keep_history=self.keep_history,
        )
        self._describe: Callable[[Crystals], Crystals] | None = None
        if preset is not None:
            self._describe = reduce_crystals
        elif self._system.moves_cell and not keeps_basis(self._system.atoms):
            # Strain by strain a cell would be sheared without end, to vectors of a kilometer.
            self._describe = straightened
        self._settings: dict[str, Any] = {
            "n_steps": self._plan.n_steps,
            "temperature": [float(t) for t in temperature],
            "step_size": [float(s) for s in step_size],
            "move_cell": bool(move_cell),
            "target_acceptance": target_acceptance,
            "pressure": float(pressure),
            "preset": preset,
        }
        super().__init__(
            atoms,  # type: ignore[arg-type]  # a filter will do
            restart=restart,
            logfile=logfile,
            trajectory=trajectory,
            append_trajectory=append_trajectory,
            loginterval=self._loginterval,
            **kwargs,
        )
        self.optimizable = RunOptimizable(self._run, self._system)

    @property
    def acceptance_rate(self) -> float:
        """Share of the steps of the schedule that were accepted; 0 before the first."""
        return self._run.acceptance_rate

    @property
    def best_energy(self) -> float:
        """Lowest energy seen [eV of the calculator], the first structure included."""
        return self._run.best[0]

    @property
    def best_atoms(self) -> Atoms:
        """A copy of the structure with the lowest energy seen, with its results attached."""
        best = self._run.best[1]
        copied: Atoms = best.copy()
        copied.calc = best.calc
        return copied

    @property
    def stop_reason(self) -> str | None:
        """Why the run ended before its schedule, or None."""
        return self._run.stop_reason

    @property
    def temperature(self) -> float:
        """Temperature of the next step of the schedule, in units of the energy."""
        return self._plan.temperature_at(self._run.n_done)

    @property
    def step_size(self) -> float:
        """Step size η of the next step of the schedule [Å²], warm-up included."""
        return self._run.scale * self._plan.step_size_at(self._run.n_done)

    def initialize(self) -> None:
        """Begin a new run; nothing is evaluated before the first step."""
        entropy: int | list[int] | None = self._seed
        if entropy is None:
            words = np.random.SeedSequence().generate_state(4).astype(np.int64)
            self.comm.broadcast(words, 0)
            entropy = [int(word) for word in words]
        self._run = self._new_run(np.random.default_rng(entropy))
        path = self._trajectory_path
        if path is not None and self._append_trajectory:
            self._n_frames_before = checkpoint.count_frames(path)

    def read(self) -> None:
        """Take up the run that the restart file holds."""
        assert self.restart is not None
        given = {"calculator": self._system.calculator, "seed": self._seed}
        told = {name: value for name, value in given.items() if value is not None}
        data = checkpoint.load(self.restart, {**self._fixed_settings, **told})
        self._run = self._new_run(np.random.default_rng())
        self._run.load_dict(data["run"])
        self.nsteps = int(data["nsteps"])
        self._n_frames_before = int(data["n_frames_before"])

    def irun(  # type: ignore[override]
        self, fmax: float | None = None, steps: int = DEFAULT_MAX_STEPS
    ) -> Iterator[bool]:
        """Run step by step; yields whether the run is done, before the first and after each step.

        Parameters
        ----------
        fmax : float, optional
            See the notes of the class.
        steps : int
            Most steps to do.

        Returns
        -------
        iterator of bool

        Raises
        ------
        ValueError
            If `fmax` or `steps` is negative or no number.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from ase_continuousp import AnnealedLangevin, ContinuouSPCalculator
        >>> atoms = bulk("NaCl", "rocksalt", a=5.9)
        >>> atoms.calc = ContinuouSPCalculator("mp20")
        >>> search = AnnealedLangevin(atoms, n_steps=3, seed=0, logfile=None)
        >>> list(search.irun())
        [False, False, False, True]
        """
        # NaN would never be reached; 0 is ASE's way of saying "all the steps".
        if fmax is not None and not fmax >= 0:
            raise ValueError(f"fmax must be a number of at least 0, or None: {fmax}")
        if not steps >= 0:
            raise ValueError(f"steps must not be negative: {steps}")
        self.fmax = fmax  # type: ignore[assignment]
        self.max_steps = self.nsteps + steps
        return self._iterate()

    def run(  # type: ignore[override]
        self, fmax: float | None = None, steps: int = DEFAULT_MAX_STEPS
    ) -> bool:
        """Run until the schedule is done and forces are below `fmax`, or for `steps` steps.

        Parameters
        ----------
        fmax : float, optional
            See the notes of the class.
        steps : int
            Most steps to do.

        Returns
        -------
        bool
            Whether the run is done.

        Raises
        ------
        ValueError
            If `fmax` or `steps` is negative or no number.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from ase_continuousp import AnnealedLangevin, ContinuouSPCalculator
        >>> atoms = bulk("NaCl", "rocksalt", a=5.9)
        >>> atoms.calc = ContinuouSPCalculator("mp20")
        >>> search = AnnealedLangevin(atoms, n_steps=3, seed=0, logfile=None)
        >>> search.run(steps=2), search.run(), search.nsteps
        (False, True, 3)
        """
        return deque(self.irun(fmax=fmax, steps=steps), maxlen=1).pop()

    def step(self) -> None:
        """Do one step: of the schedule, or downhill once the schedule is done."""
        self._run.advance()

    def gradient_converged(self, gradient: Floats) -> bool:
        """Return whether the schedule is done and no force is larger than `fmax`, if given."""
        if not self._run.is_annealed or self.stop_reason is not None:
            return False
        return self.fmax is None or bool(self.optimizable.gradient_norm(gradient) < self.fmax)

    def log(self, gradient: Floats) -> None:
        """Write one line: energies, largest force, temperature, step size and acceptance."""
        name = type(self).__name__
        if self.nsteps == 0:
            self.logfile.write(
                f"{'':{len(name)}}   Step     Time          Energy         fmax  Temperature"
                "    Step size  Accepted     Best energy\n"
            )
        self.logfile.write(
            f"{name}: {self.nsteps:5d} {time.strftime('%H:%M:%S')} "
            f"{self.optimizable.get_value():15.6f} {self.optimizable.gradient_norm(gradient):12.6f}"
            f" {self.temperature:12.4e} {self.step_size:12.4e} {self.acceptance_rate:9.3f} "
            f"{self.best_energy:15.6f}\n"
        )

    def todict(self) -> dict[str, Any]:
        """Return what ASE writes into trajectories and databases about the run."""
        described: dict[str, Any] = super().todict()  # type: ignore[no-untyped-call]
        return {**described, **self._settings, "seed": self._seed}

    @property
    def _fixed_settings(self) -> dict[str, Any]:
        return {**self._settings, "numbers": self._system.atoms.numbers}

    @property
    def _trajectory_path(self) -> Path | None:
        given = self._orig_trajectory
        return None if given is None or hasattr(given, "write") else Path(given)

    def _new_run(self, rng: np.random.Generator) -> AnnealRun:
        return AnnealRun(self._system, self._plan, rng, self._describe)

    def _iterate(self) -> Iterator[bool]:
        if not self._is_opened:
            self._is_opened = True
            is_resumed = self._run.n_done > 0
            # Restart file first: a kill from here on finds the state before the frame.
            self._save()
            self.log(self.optimizable.get_gradient())
            self._continue_trajectory()
            if not is_resumed:
                self.call_observers()  # type: ignore[no-untyped-call]
        is_done = self.gradient_converged(self.optimizable.get_gradient())
        yield is_done
        while not is_done and self.nsteps < self.max_steps and self.stop_reason is None:
            self.step()
            self.nsteps += 1
            self._save()
            gradient = self.optimizable.get_gradient()
            self.log(gradient)
            self.call_observers()  # type: ignore[no-untyped-call]
            is_done = self.gradient_converged(gradient)
            yield is_done
        if self.stop_reason is not None:
            self.logfile.write(f"{type(self).__name__}: stopped: {self.stop_reason}\n")

    def _save(self) -> None:
        if self.restart is None:
            return
        data = {
            "settings": {
                **self._fixed_settings,
                "calculator": self._system.calculator,
                "seed": self._seed,
            },
            "nsteps": self.nsteps,
            "n_frames_before": self._n_frames_before,
            "run": self._run.to_dict(),
        }
        if self.comm.rank == 0:
            checkpoint.save(self.restart, data)

    def _continue_trajectory(self) -> None:
        """Bring the trajectory of a resumed run to the frame of the restart file."""
        path = self._trajectory_path
        if path is None or not self._append_trajectory:
            return
        due = self._n_frames_before + -(-self.nsteps // self._loginterval)
        has_frame = self.nsteps > 0 and self.nsteps % self._loginterval == 0
        if self.comm.rank == 0:
            checkpoint.keep_frames(path, due + has_frame)
        self.comm.barrier()
        if has_frame and checkpoint.count_frames(path) == due:
            self._traj_write_image({"interval": self._loginterval})

    def _traj_write_image(self, description: dict[str, Any]) -> None:
        """Write the state of the chain, whatever the calculator looked at last."""
        with self._opentraj() as trajectory:
            trajectory.set_description(self.todict() | description)
            trajectory.write(self.optimizable)
