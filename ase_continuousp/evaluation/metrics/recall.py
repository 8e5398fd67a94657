"""METRe and cRMSE: how many of the known crystals are found at all, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.evaluation.metrics.variety import by_composition, composition_of

SITE_TOLERANCE = 0.5  # stol of the matcher: no match can be worse


@dataclass(frozen=True)
class Recall:
    """How well a set of crystals finds those of a reference set.

    Parameters
    ----------
    metre : float
        Share of the reference crystals that at least one generated crystal matches.
    crmse : float
        Mean over the reference of the smallest RMS distance, that of a missed crystal being the
        tolerance of the matcher, 0.5.
    n : int
        Crystals of the reference.
    """

    metre: float
    crmse: float
    n: int


def recall(found: Sequence[Crystals], truths: Sequence[Crystals]) -> Recall:
    """Return METRe and cRMSE of generated crystals (Martirossyan et al. 2025, arXiv:2509.12178).

    METRe ("match everyone to reference") asks of every reference crystal i whether any generated
    crystal j of its reduced composition matches, whichever test crystal it was generated for; a
    match rate asks only the one in the same row, and so punishes a polymorph that was found in
    another row and rewards nothing for finding both. cRMSE counts what was missed with the largest
    distance that a match can have, so that it cannot fall because the hard crystals are missed:

        METRe = N_matched / N
        cRMSE = (1/N) (Σ_{i matched} min_j RMS(j, i) + stol · (N − N_matched))

    This is the definition of that paper as its authors write it out in a later one (OMatG-flash,
    equations 64 to 66) and compute it in their code (``metre_rmsds`` of OMatG), with the tolerances
    of a match rate, stol = 0.5. In their protocol a composition with several reference crystals is
    generated as many times, which an evaluation of a whole test set does.

    Parameters
    ----------
    found, truths : sequences of Crystals
        Batches of one.

    Raises
    ------
    ValueError
        If there is no reference crystal.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> truths = list(from_atoms([bulk("NaCl", "rocksalt", a=5.6), bulk("Cu")]))
    >>> recall(truths[:1], truths)
    Recall(metre=0.5, crmse=0.25, n=2)
    """
    if not truths:
        raise ValueError("truths must hold at least one crystal: got none")
    known = by_composition(Crystals.concatenate(list(found))) if found else {}
    distances = []
    for truth in truths:
        all_rms = [rms_distance(one, truth) for one in known.get(composition_of(truth), ())]
        distances.append(min((rms for rms in all_rms if rms is not None), default=None))
    matched = [rms for rms in distances if rms is not None]
    missed = len(distances) - len(matched)
    crmse = (float(np.sum(matched)) + missed * SITE_TOLERANCE) / len(distances)
    return Recall(len(matched) / len(distances), round(crmse, 12), len(distances))
