"""COV-R and COV-P of CDVAE: whether generated crystals lie near all known ones, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.fingerprints import (
    Scale,
    composition_fingerprint,
    mp20_scale,
    structure_fingerprint,
)

Floats = NDArray[np.float64]

CUTOFFS = {"mp_20": (0.4, 10.0), "perov_5": (0.2, 4.0), "carbon_24": (0.2, 4.0)}


@dataclass(frozen=True)
class Coverage:
    """How well two sets of crystals cover each other.

    Parameters
    ----------
    recall, precision : float
        COV-R, the share of test crystals that have a generated crystal near in structure and one,
        not always the same, near in composition; COV-P, the other way round. As the code of CDVAE
        computes them, with which all published values were made.
    joint_recall, joint_precision : float
        The same with one crystal that is near in both, as the text of that paper has it.
    amsd_recall, amsd_precision, amcd_recall, amcd_precision : float or None
        Mean distance to the nearest, of structures and of compositions.
    n_failed : int
        Crystals without a fingerprint of their structure; they cover nothing and are not covered,
        and are left out of the means.
    """

    recall: float
    precision: float
    joint_recall: float
    joint_precision: float
    amsd_recall: float | None
    amsd_precision: float | None
    amcd_recall: float | None
    amcd_precision: float | None
    n_failed: int


def coverage(
    found: Sequence[Crystals],
    truths: Sequence[Crystals],
    *,
    cutoffs: tuple[float, float] = CUTOFFS["mp_20"],
    scale: Scale | None = None,
    progress: bool = False,
) -> Coverage:
    """Return COV-R and COV-P (Xie et al. 2022, arXiv:2110.06197), with matminer's fingerprints.

    Structures are compared by the Euclidean distance of their mean CrystalNN fingerprints,
    compositions by that of their Magpie fingerprints in units of their spread over the training
    set. Cost: some 25 ms for an atom.

    Parameters
    ----------
    found, truths : sequences of Crystals
        Batches of one: what was generated, and the test set.
    cutoffs : (float, float)
        Largest distances of structures and of compositions that are near; those of CDVAE for its
        data sets are in ``CUTOFFS``.
    scale : Scale, optional
        Spread of the compositions; that of mp_20/train if not given. CDVAE took one spread, of
        another selection from the Materials Project, for all its data sets.
    progress : bool

    Raises
    ------
    ImportError
        If matminer is not installed.
    ValueError
        If a set is empty or a cutoff is not positive.
    """
    for name, crystals in (("found", found), ("truths", truths)):
        if not crystals:
            raise ValueError(f"{name} must hold at least one crystal: got none")
    scaled = mp20_scale() if scale is None else scale
    everything = [*found, *truths]
    compositions = scaled(np.array([composition_fingerprint(one) for one in everything]))
    bar = tqdm(everything, desc="fingerprints", unit="crystal", disable=not progress)
    structures = [structure_fingerprint(one) for one in bar]
    length = next((len(one) for one in structures if one is not None), 1)
    filled = np.array([np.full(length, np.nan) if one is None else one for one in structures])
    n = len(found)
    return coverage_of(
        (filled[:n], compositions[:n]), (filled[n:], compositions[n:]), cutoffs=cutoffs
    )


def coverage_of(
    found: tuple[ArrayLike, ArrayLike],
    truths: tuple[ArrayLike, ArrayLike],
    *,
    cutoffs: tuple[float, float] = CUTOFFS["mp_20"],
) -> Coverage:
    """Return the coverage of two sets of fingerprints.

    Parameters
    ----------
    found, truths : (structures, compositions)
        Arrays with a row for each crystal; NaN where there is no fingerprint.
    cutoffs : (float, float)

    Raises
    ------
    ValueError
        If a cutoff is not positive.

    Examples
    --------
    >>> found = [[0.0], [1.0]], [[5.0], [0.0]]  # the first near in structure, the other in formula
    >>> truths = [[0.1]], [[0.0]]
    >>> one = coverage_of(found, truths, cutoffs=(0.4, 1.0))
    >>> one.recall, one.joint_recall, one.precision
    (1.0, 0.0, 0.0)
    """
    if not min(cutoffs) > 0.0:
        raise ValueError(f"cutoffs must be positive: {cutoffs}")
    pairs = [[np.asarray(part, np.float64) for part in group] for group in (found, truths)]
    good = [np.logical_and.reduce(np.isfinite(np.hstack(group)), axis=1) for group in pairs]
    # Distances of crystals without a fingerprint are infinite.
    distances = [np.full((len(good[0]), len(good[1])), np.inf) for _ in cutoffs]
    for kind, distance in enumerate(distances):
        distance[np.ix_(*good)] = cdist(pairs[0][kind][good[0]], pairs[1][kind][good[1]])
    near = [distance <= cutoff for distance, cutoff in zip(distances, cutoffs, strict=True)]
    joint = near[0] & near[1]
    nearest = [[distance.min(axis=axis) for axis in (0, 1)] for distance in distances]
    return Coverage(
        recall=float(np.mean(near[0].any(axis=0) & near[1].any(axis=0))),
        precision=float(np.mean(near[0].any(axis=1) & near[1].any(axis=1))),
        joint_recall=float(np.mean(joint.any(axis=0))),
        joint_precision=float(np.mean(joint.any(axis=1))),
        amsd_recall=_mean(nearest[0][0]),
        amsd_precision=_mean(nearest[0][1]),
        amcd_recall=_mean(nearest[1][0]),
        amcd_precision=_mean(nearest[1][1]),
        n_failed=int(sum(np.sum(~one) for one in good)),
    )


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
