"""Starts to refined crystals: a batch of short anneals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation
from ase_continuousp.model.checkpoint import TrainedModel
from ase_continuousp.model.conditional import ConditionalEnergy
from ase_continuousp.model.judge import Judge
from ase_continuousp.model.polish import Polish
from ase_continuousp.sampling.ancestral import ancestral
from ase_continuousp.sampling.annealing import AnnealResult, AnnealSettings, anneal
from ase_continuousp.sampling.displacement import Displacement
from ase_continuousp.sampling.symmetry import SymmetryProjection
from ase_continuousp.starts import StartCrystal

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Refined:
    """A crystal after annealing and quench.

    Parameters
    ----------
    crystals : Crystals
        A batch of one.
    energy : float
        Of the cell, in units of the model.
    forces : (n_atoms, 3) array
    stress : (3, 3) array
    converged : bool
        Whether the quench reached its tolerance; true where none was asked for.
    start : StartCrystal
        Where it came from.
    trace : (n_evaluations,) array
        Energy per atom along the way; one value if it was taken as built.
    basin_energy : float, optional
        Of the minimum that a quench from here leads to, if it is another than here.
    log_odds : float, optional
        What the judge of the model says, if it has one.
    parent : (float, float), optional
        Log-odds and energy per atom of the known crystal that a prototype was made from, see
        :mod:`ase_continuousp.search.parents`.
    unpolished : Refined, optional
        What it was before the last step that :mod:`ase_continuousp.model.polish` makes.
    """

    crystals: Crystals
    energy: float
    forces: Floats
    stress: Floats
    converged: bool
    start: StartCrystal
    trace: Floats
    basin_energy: float | None = None
    log_odds: float | None = None
    parent: tuple[float, float] | None = None
    unpolished: Refined | None = None

    @property
    def found(self) -> Refined:
        """What the search found and compares: this, or what it was before the last step."""
        return self.unpolished or self

    @property
    def energy_per_atom(self) -> float:
        """Energy divided by the number of atoms."""
        return self.energy / self.crystals.n_atoms

    @property
    def basin_energy_per_atom(self) -> float:
        """Energy of the minimum that a quench leads to, divided by the number of atoms."""
        one = self.found
        energy = one.energy if one.basin_energy is None else one.basin_energy
        return energy / one.crystals.n_atoms

    @property
    def is_finite(self) -> bool:
        """Whether energy, positions and cell are numbers, and the cell has a volume."""
        finite = np.isfinite(self.energy) and np.isfinite(self.crystals.positions).all()
        return bool(finite and np.isfinite(self.crystals.cells).all()) and (
            self.crystals.volumes[0] > 1e-6
        )


def anneal_settings(
    model: TrainedModel, *, n_steps: int | None = None, relax: bool = True
) -> AnnealSettings:
    """Return the settings that the card of a model asks for, with changes.

    Parameters
    ----------
    model : TrainedModel
        Its card may hold an entry "anneal" with values of AnnealSettings.
    n_steps : int, optional
        Noisy steps in all instead of the model's, without reheating.
    relax : bool
        Whether to quench at the end.

    Raises
    ------
    ValueError
        If n_steps is negative or the card holds an unknown setting.
    """
    try:
        settings = AnnealSettings(**model.card.get("anneal", {}))
    except TypeError as error:
        raise ValueError(f"model {model.name!r}: its card has a wrong setting: {error}") from None
    if n_steps is not None:
        settings = replace(settings, n_steps=n_steps, reheats=0)
    # Minima are compared: without quenches there are none.
    return settings if relax else replace(settings, quench_steps=0, reheats=0)


def refine_starts(
    energy: EnergyFunction,
    starts: Sequence[StartCrystal],
    settings: AnnealSettings,
    rng: np.random.Generator,
    *,
    with_basins: bool = True,
    keeps_symmetry: bool = False,
) -> list[Refined]:
    """Anneal and quench a batch of starts, each from its own level of noise.

    Starts of level 0 are taken as they are: prototypes are built with averaged positions, and a
    quench with a small model moves them away from the truth. Where a quench would lead is
    judged all the same, by its energy.

    What is annealed as another composition (:mod:`ase_continuousp.starts.related`) is given its own
    elements where that ended, and quenched once more. What is not to be heated again
    (:mod:`ase_continuousp.starts.unheated`) is not, whatever the settings.

    Parameters
    ----------
    energy : EnergyFunction
    starts : sequence of StartCrystal
    settings : AnnealSettings
        No start begins at a higher level than its.
    rng : numpy.random.Generator
    with_basins : bool
        Whether to quench a copy of what is taken as it is, for the energy of its basin.
    keeps_symmetry : bool
        Whether each crystal, cell and positions, stays in the space group that it starts in. A
        batch may hold many.

    Returns
    -------
    list of Refined, in the order of the starts
    """
    still = [i for i, start in enumerate(starts) if start.noise <= 0]
    made: dict[int, Refined] = {}
    for is_reheated in (True, False):
        moving = [
            i for i, one in enumerate(starts) if one.noise > 0 and one.is_reheated is is_reheated
        ]
        if moving:
            own = settings if is_reheated else replace(settings, reheats=0)
            ends = _moved(energy, [starts[i] for i in moving], own, rng, keeps_symmetry)
            made.update(zip(moving, ends, strict=True))
    if still:
        batch = Crystals.concatenate([starts[i].crystals for i in still])
        found = energy(batch)
        basins = None
        if with_basins:
            quenched = anneal(
                energy, batch, replace(settings, n_steps=0), rng, noise=np.zeros(len(still))
            )
            basins = quenched.evaluation.energy
        ready = np.ones(len(still), dtype=bool)
        trace = (found.energy / batch.counts)[None]
        ends = refined_of([starts[i] for i in still], batch, found, ready, trace, basins)
        made.update(zip(still, ends, strict=True))
    return [made[i] for i in range(len(starts))]


def _moved(
    energy: EnergyFunction,
    starts: Sequence[StartCrystal],
    settings: AnnealSettings,
    rng: np.random.Generator,
    keeps_symmetry: bool,
) -> list[Refined]:
    batch = Crystals.concatenate([_annealed_as(start) for start in starts])
    noise = np.minimum([start.noise for start in starts], settings.level)
    symmetry = SymmetryProjection.of(batch) if keeps_symmetry else None
    is_conditional = isinstance(getattr(energy, "network", None), ConditionalEnergy)
    descend: Any = ancestral if is_conditional else anneal
    done = descend(energy, batch, settings, rng, noise=noise, symmetry=symmetry)
    made = _ends(starts, done)
    related = [i for i, start in enumerate(starts) if start.instead is not None]
    if related:
        batch = Crystals.concatenate([_with_own_elements(made[i]) for i in related])
        quench = replace(settings, n_steps=0, reheats=0)
        noise = np.zeros(len(related))
        symmetry = SymmetryProjection.of(batch) if keeps_symmetry else None
        done = descend(energy, batch, quench, rng, noise=noise, symmetry=symmetry)
        for i, one in zip(related, _ends([starts[i] for i in related], done), strict=True):
            made[i] = one
    return made


def _annealed_as(start: StartCrystal) -> Crystals:
    if start.instead is None:
        return start.crystals
    return replace(start.crystals, numbers=start.instead)


def _with_own_elements(one: Refined) -> Crystals:
    return replace(one.crystals, numbers=one.start.crystals.numbers)


def _ends(starts: Sequence[StartCrystal], done: AnnealResult) -> list[Refined]:
    return refined_of(starts, done.crystals, done.evaluation, done.converged, done.trace)


def refined_of(
    starts: Sequence[StartCrystal],
    crystals: Crystals,
    found: Evaluation,
    converged: NDArray[np.bool_],
    trace: Floats,
    basins: Floats | None = None,
) -> list[Refined]:
    """Return the crystals of a batch one by one, each with the start that it came from."""
    return [
        Refined(
            crystals=crystals.select([b]),
            energy=float(found.energy[b]),
            forces=found.forces[crystals.offsets[b] : crystals.offsets[b + 1]],
            stress=found.stress[b],
            converged=bool(converged[b]),
            start=start,
            trace=trace[:, b].copy(),
            basin_energy=None if basins is None else float(basins[b]),
        )
        for b, start in enumerate(starts)
    ]


def judged(refined: Sequence[Refined], judge: Judge) -> list[Refined]:
    """Return crystals with what a judge says of them; of crystals that went astray nothing."""
    sane = [i for i, one in enumerate(refined) if one.is_finite]
    made = list(refined)
    if sane:
        odds = judge(Crystals.concatenate([refined[i].crystals for i in sane]))
        for i, value in zip(sane, odds.tolist(), strict=True):
            made[i] = replace(made[i], log_odds=value)
    return made


def polished(
    refined: Sequence[Refined],
    polish: Polish,
    energy: EnergyFunction,
    *,
    keeps_symmetry: bool = False,
) -> list[Refined]:
    """Return crystals after the last small step, those of the kinds that it was trained for.

    Energy, forces and stress are those of the new place. What it was before is kept: searches
    merge, compare and rank by that, and a step to the truth may go up in energy.

    Parameters
    ----------
    refined : sequence of Refined
    polish : Polish
    energy : EnergyFunction
    keeps_symmetry : bool
        Whether each crystal stays in the space group that it is in, to rounding.
    """
    chosen = [
        i
        for i, one in enumerate(refined)
        if one.is_finite and (polish.kinds == "all" or one.start.noise <= 0)
    ]
    made = list(refined)
    if not chosen:
        return made
    batch = Crystals.concatenate([refined[i].crystals for i in chosen])
    moved = polish(batch)
    if keeps_symmetry:
        still = np.zeros((len(batch), 3, 3))
        move = Displacement(moved.positions - batch.positions, still)
        move = SymmetryProjection.of(batch)(batch, move)
        moved = replace(batch, positions=batch.positions + move.atoms)
    found = energy(moved)
    ready = np.array([refined[i].converged for i in chosen])
    trace = (found.energy / moved.counts)[None]
    ends = refined_of([refined[i].start for i in chosen], moved, found, ready, trace)
    for i, one in zip(chosen, ends, strict=True):
        before = refined[i]
        if one.is_finite:
            made[i] = replace(
                one,
                trace=np.append(before.trace, one.trace),
                log_odds=before.log_odds,
                parent=before.parent,
                unpolished=before,
            )
    return made
