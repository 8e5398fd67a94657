"""The metrics of the crystals that an evaluation found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm import tqdm

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.generation import generation_metrics
from ase_continuousp.evaluation.metrics.stability import hull_distances
from ase_continuousp.evaluation.report import Report
from ase_continuousp.training.data import read_crystals


def with_metrics(
    report: Report,
    data: str | os.PathLike[str] | Crystals,
    *,
    reference: str | os.PathLike[str] | Crystals | None = None,
    entries: Sequence[Atoms] | None = None,
    calculator: Calculator | None = None,
    progress: bool = False,
) -> Report:
    """Return a report together with the metrics of the crystals ranked first.

    Parameters
    ----------
    report : Report
    data : path or Crystals
        What was evaluated.
    reference : path or Crystals, optional
        What is known already, for novelty.
    entries : sequence of Atoms, optional
        Known phases with energies of `calculator`, for the distance from the hull.
    calculator : Calculator, optional
        What gives the generated crystals their energy, as they are.
    progress : bool

    Raises
    ------
    ValueError
        If only one of entries and calculator is given, or no crystal was found.
    """
    if (entries is None) != (calculator is None):
        raise ValueError("entries and calculator must be given together: energies of one method")
    truths = _crystals(data, progress)
    rows = [row for row in report.per_structure if row.top1_cif]
    if not rows:
        raise ValueError("report must hold at least one found crystal: got none")
    found = [io.from_cif_text(row.top1_cif) for row in rows]
    above_hull = None
    if entries is not None:
        images = [image for one in found for image in io.to_atoms(one)]
        for image in tqdm(images, desc="energies", disable=not progress):
            image.calc = calculator
            image.get_potential_energy()
            image.calc = _kept(image)
        above_hull = hull_distances(images, entries)
    metrics = generation_metrics(
        found,
        [truths.select([row.index]) for row in report.per_structure],
        reference=None if reference is None else _crystals(reference, progress),
        above_hull=above_hull,
        progress=progress,
    )
    return replace(report, metrics={**metrics.to_dict(), "summary": metrics.summary()})


def _kept(image: Atoms) -> Calculator:
    return SinglePointCalculator(image, energy=image.get_potential_energy())


def _crystals(data: str | os.PathLike[str] | Crystals, progress: bool) -> Crystals:
    return data if isinstance(data, Crystals) else read_crystals(data, progress=progress)
