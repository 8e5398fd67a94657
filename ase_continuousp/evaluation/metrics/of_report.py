"""The metrics of the crystals that an evaluation found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.coverage import CUTOFFS
from ase_continuousp.evaluation.metrics.energetics import energetics
from ase_continuousp.evaluation.metrics.generation import generation_metrics
from ase_continuousp.evaluation.report import Report
from ase_continuousp.training.data import read_crystals

Source = str | os.PathLike[str] | Crystals


def with_metrics(
    report: Report,
    data: Source,
    *,
    reference: Source | None = None,
    calculator: Any = None,
    phases: Source | Sequence[Source] | None = None,
    max_steps: int = 300,
    cutoffs: tuple[float, float] = CUTOFFS["mp_20"],
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
    calculator : ASE calculator, optional
        For stability: gives energies to known phases and, relaxed, to what was generated.
    phases : path, Crystals, or several of them, optional
        The known phases; those of `reference` if not given.
    max_steps : int
        Of a relaxation; 0 takes what was generated as it is.
    cutoffs : (float, float)
        Of the coverage.
    progress : bool

    Raises
    ------
    ValueError
        If there are phases without a calculator or the reverse, or no crystal was found.
    """
    if phases is not None and calculator is None:
        raise ValueError("phases must come with a calculator: energies of one method")
    if calculator is not None and phases is None and reference is None:
        raise ValueError("a calculator must come with phases or a reference set, to compare with")
    truths = _crystals(data, progress)
    rows = [row for row in report.per_structure if row.top1_cif]
    if not rows:
        raise ValueError("report must hold at least one found crystal: got none")
    found = [io.from_cif_text(row.top1_cif) for row in rows]
    asked = [truths.select([row.index]) for row in report.per_structure]
    before = None if reference is None else _crystals(reference, progress)
    options: dict[str, Any] = {}
    if calculator is not None:
        sources = before if phases is None else phases
        made = energetics(
            found,
            asked,
            _phases(sources, progress),
            calculator,
            max_steps=max_steps,
            progress=progress,
        )
        options = {
            "above_hull": made.above_hull,
            "relaxed": made.relaxed if max_steps else None,
            "formation": (made.formation, made.true_formation),
        }
    metrics = generation_metrics(
        found, asked, reference=before, cutoffs=cutoffs, progress=progress, **options
    )
    return replace(report, metrics={**metrics.to_dict(), "summary": metrics.summary()})


def _phases(sources: Source | Sequence[Source] | None, progress: bool) -> Iterator[Crystals]:
    if isinstance(sources, str | os.PathLike | Crystals):
        sources = [sources]
    for part in sources or ():
        yield from _crystals(part, progress)


def _crystals(data: Source, progress: bool) -> Crystals:
    return data if isinstance(data, Crystals) else read_crystals(Path(data), progress=progress)
