"""Energies of generated crystals by one calculator: above the hull, and of formation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.stability import hull_distances
from ase_continuousp.search.relaxed import CannotCompute, relax_with

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Energetics:
    """What a calculator says of generated crystals; NaN where it, or the hull, is lacking.

    Parameters
    ----------
    relaxed : list of Crystals
        The generated crystals at its minima, as they were where no minimum is reached.
    above_hull : (n,) array [eV per atom]
        Of these.
    formation : (n,) array [eV per atom]
        Energy of formation from the elements of the crystals as generated.
    true_formation : (m,) array [eV per atom]
        The same of the test crystals.
    n_phases : int
        Known crystals that the hull was made of.
    """

    relaxed: list[Crystals]
    above_hull: Floats
    formation: Floats
    true_formation: Floats
    n_phases: int


def energetics(
    found: Sequence[Crystals],
    truths: Sequence[Crystals],
    phases: Iterable[Crystals],
    calculator: Any,
    *,
    max_steps: int = 300,
    progress: bool = False,
) -> Energetics:
    """Relax generated crystals and compare them with known phases, all with one calculator.

    Known phases are taken as they are: relaxed by the method that they come from, they lie somewhat
    above the minima of the calculator, and the generated ones, at these minima, look the more
    stable for it.

    Parameters
    ----------
    found, truths : sequences of Crystals
        Batches of one: what was generated, and the test set.
    phases : iterable of Crystals
        Batches of one; those of other chemical systems are passed over.
    calculator : ASE calculator
    max_steps : int
        Of a relaxation, to 0.05 eV/Å; 0 leaves the crystals as generated.
    progress : bool

    Raises
    ------
    ValueError
        If no phase is of the chemical systems of the generated crystals.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase_continuousp.io import from_atoms
    >>> found = list(from_atoms([bulk("Cu", a=3.7), bulk("Cu", "bcc", a=2.9)]))
    >>> known = from_atoms(bulk("Cu", a=3.59))
    >>> energetics(found, list(known), list(known), EMT()).above_hull.round(2)
    array([0.  , 0.03])
    """
    systems = {frozenset(one.numbers.tolist()) for one in found}
    kept = []
    for one in phases:
        elements_of_one = frozenset(one.numbers.tolist())
        if any(elements_of_one <= system for system in systems):
            kept.append(one)
    if not kept:
        raise ValueError("phases must hold crystals of the chemical systems that were generated")
    known = _with_energies(kept, calculator, "phases", progress)
    images = _with_energies(found, calculator, "energies", progress)
    true_images = _with_energies(truths, calculator, "energies of the test set", progress)
    entries = [image for image in known if image is not None]
    elements = _elements(entries)
    lowest = []
    bar = tqdm(images, desc="relaxing", unit="crystal", disable=not progress)
    for image in bar:
        lowest.append(image and _relaxed(image, calculator, max_steps))
    return Energetics(
        relaxed=[
            one if image is None else io.from_atoms(image)
            for one, image in zip(found, lowest, strict=True)
        ],
        above_hull=_above_hull(lowest, entries),
        formation=np.array([_formation(image, elements) for image in images]),
        true_formation=np.array([_formation(image, elements) for image in true_images]),
        n_phases=len(entries),
    )


def _with_energies(
    crystals: Sequence[Crystals], calculator: Any, desc: str, progress: bool
) -> list[Atoms | None]:
    images: list[Atoms | None] = []
    for one in tqdm(crystals, desc=desc, unit="crystal", disable=not progress):
        image = io.to_atoms(one)[0]
        image.calc = calculator
        try:
            energy = float(image.get_potential_energy())
        except (NotImplementedError, LookupError, ValueError, ArithmeticError, RuntimeError) as why:
            # An element that it does not know, or atoms that see no others.
            logger.info("no energy of %s: %s", image.get_chemical_formula(), why)
            images.append(None)
            continue
        image.calc = SinglePointCalculator(image, energy=energy)
        images.append(image if np.isfinite(energy) else None)
    return images


def _relaxed(image: Atoms, calculator: Any, max_steps: int) -> Atoms:
    """Return the crystal at its minimum; as it is if there is none."""
    try:
        done = relax_with(image, calculator, max_steps=max_steps) if max_steps else None
    except CannotCompute as why:
        logger.info("no relaxation of %s: %s", image.get_chemical_formula(), why)
        done = None
    return image if done is None else done[0]


def _above_hull(images: Sequence[Atoms | None], entries: Sequence[Atoms]) -> Floats:
    found = np.full(len(images), np.nan)
    places = [place for place, image in enumerate(images) if image is not None]
    if places and entries:
        found[places] = hull_distances([i for i in images if i is not None], entries)
    return found


def _elements(entries: Sequence[Atoms]) -> dict[int, float]:
    """Return the lowest energy per atom of each element."""
    lowest: dict[int, float] = {}
    for image in entries:
        kinds = set(image.numbers.tolist())
        if len(kinds) == 1:
            energy = image.get_potential_energy() / len(image)
            lowest[min(kinds)] = min(energy, lowest.get(min(kinds), np.inf))
    return lowest


def _formation(image: Atoms | None, elements: dict[int, float]) -> float:
    if image is None or not set(image.numbers.tolist()) <= set(elements):
        return np.nan
    pure = sum(elements[number] for number in image.numbers.tolist())
    return float((image.get_potential_energy() - pure) / len(image))
