"""All metrics of a set of generated crystals in one record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.coverage import CUTOFFS, Coverage, coverage
from ase_continuousp.evaluation.metrics.fingerprints import has_matminer
from ase_continuousp.evaluation.metrics.recall import recall
from ase_continuousp.evaluation.metrics.validity import charge_rules, has_room, is_charge_balanced
from ase_continuousp.evaluation.metrics.variety import (
    Composition,
    by_composition,
    classes,
    is_novel,
)

Bools = NDArray[np.bool_]

_GRAMS_PER_CM3 = 1.66053907  # of one dalton per cubic Ångström

# What is printed, in this order. Shares have a binomial error.
_SHARES = {
    "charge": "charge",
    "room": "room",
    "valid": "valid",
    "unique": "unique",
    "novel": "novel",
    "metre": "METRe",
    "recall": "COV-R",
    "precision": "COV-P",
    "joint_recall": "joint COV-R",
    "joint_precision": "joint COV-P",
    "stable": "stable",
    "relaxed_unique": "relaxed unique",
    "relaxed_novel": "relaxed novel",
    "sun": "S.U.N.",
    "no_hull": "no hull",
}
_LABELS = _SHARES | {
    "crmse": "cRMSE",
    "density": "density",
    "elements": "elements",
    "energy": "energy",
    "amsd_recall": "AMSD-R",
    "amsd_precision": "AMSD-P",
    "amcd_recall": "AMCD-R",
    "amcd_precision": "AMCD-P",
}


@dataclass(frozen=True)
class GenerationMetrics:
    """What a set of generated crystals is worth; shares between 0 and 1.

    Parameters
    ----------
    n : int
        Generated crystals.
    rules : str
        The library that judged the charges.
    charge, room, valid : float
        Charges can balance; no two atoms are closer than 0.5 Å; both.
    unique : float
        Distinct crystals over all.
    novel : float or None
        Crystals that match none of the reference set.
    density, elements : float
        Wasserstein distance of the distributions of the density [g/cm³] and of the number of
        elements, valid crystals against the test set.
    metre, crmse : float
        See :class:`~ase_continuousp.evaluation.metrics.Recall`.
    stable, sun : float or None
        At most 0.1 eV per atom above the hull; stable, unique and novel at once.
    relaxed_unique, relaxed_novel : float or None
        As unique and novel, of the crystals once relaxed, which is what sun asks for then.
    no_hull : float or None
        Share whose distance from the hull is not known; they count as unstable.
    energy : float or None
        Wasserstein distance of the energies of formation [eV per atom], valid crystals against the
        test set.
    coverage : Coverage or None
        None without matminer.
    """

    n: int
    rules: str
    charge: float
    room: float
    valid: float
    unique: float
    novel: float | None
    density: float | None
    elements: float | None
    metre: float
    crmse: float
    stable: float | None = None
    sun: float | None = None
    relaxed_unique: float | None = None
    relaxed_novel: float | None = None
    no_hull: float | None = None
    energy: float | None = None
    coverage: Coverage | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return asdict(self)

    def summary(self) -> str:
        """Return the metrics as lines of text, shares with one standard error."""
        lines = [f"metrics of {self.n} crystals, charges by {self.rules}"]
        numbers = {**self.to_dict(), **(asdict(self.coverage) if self.coverage else {})}
        for name, label in _LABELS.items():
            value = numbers.get(name)
            if value is None:
                continue
            text = f"{label:14s} {value:.3f}"
            if name in _SHARES:
                text += f" ± {math.sqrt(value * (1 - value) / self.n):.3f}"
            lines.append(text)
        return "\n".join(lines)


def generation_metrics(
    found: Sequence[Crystals],
    truths: Sequence[Crystals],
    *,
    reference: Crystals | None = None,
    above_hull: ArrayLike | None = None,
    relaxed: Sequence[Crystals] | None = None,
    formation: tuple[ArrayLike, ArrayLike] | None = None,
    threshold: float = 0.1,
    cutoffs: tuple[float, float] = CUTOFFS["mp_20"],
    progress: bool = False,
) -> GenerationMetrics:
    """Return the metrics of generated crystals.

    Validity and distributions as CDVAE defines them (Xie et al. 2022, arXiv:2110.06197), S.U.N. as
    MatterGen does (Zeni et al. 2025, doi:10.1038/s41586-025-08628-5), METRe and cRMSE as
    :func:`~ase_continuousp.evaluation.metrics.recall`. Unique and novel are what pymatgen's
    matcher, as it comes, tells apart.

    Parameters
    ----------
    found, truths : sequences of Crystals
        Batches of one: what was generated, and the test set.
    reference : Crystals, optional
        What is known already, for novelty; usually the training set.
    above_hull : (n,) array, optional [eV per atom]
        Of each generated crystal, for example from
        :func:`~ase_continuousp.evaluation.metrics.hull_distances`; NaN counts as unstable.
    relaxed : sequence of Crystals, optional
        The generated crystals after the relaxation that `above_hull` is of.
    formation : (found, truths), optional [eV per atom]
        Energies of formation, for the distance of their distributions; NaN is left out.
    threshold : float [eV per atom]
    cutoffs : (float, float)
        Of :func:`~ase_continuousp.evaluation.metrics.coverage`, which is computed if matminer is
        installed.
    progress : bool

    Raises
    ------
    ValueError
        If there is no generated crystal or no test crystal.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> truths = list(from_atoms([bulk("NaCl", "rocksalt", a=5.6), bulk("Cu")]))
    >>> found = list(from_atoms([bulk("NaCl", "rocksalt", a=5.7), bulk("Cu"), bulk("Cu")]))
    >>> metrics = generation_metrics(found, truths, reference=truths[1])
    >>> metrics.valid, round(metrics.unique, 2), round(metrics.novel, 2), metrics.metre
    (1.0, 0.67, 0.33, 1.0)
    """
    if not found:
        raise ValueError("found must hold at least one crystal: got none")
    charge = np.array([is_charge_balanced(one.numbers) for one in found])
    room = np.array([has_room(one) for one in found])
    valid = charge & room
    known_before = None if reference is None else by_composition(reference)
    is_first, novel = _variety(found, known_before, progress)
    at_rest = (is_first, novel) if relaxed is None else _variety(relaxed, known_before, progress)
    good = [one for one, is_valid in zip(found, valid, strict=True) if is_valid]
    known = recall(found, truths)
    hull = None if above_hull is None else np.asarray(above_hull, np.float64)
    stable = None if hull is None else hull <= threshold
    sun = None if stable is None or at_rest[1] is None else stable & at_rest[0] & at_rest[1]
    return GenerationMetrics(
        n=len(found),
        rules=charge_rules(),
        charge=float(charge.mean()),
        room=float(room.mean()),
        valid=float(valid.mean()),
        unique=float(is_first.mean()),
        novel=_share(novel),
        density=_distance([_density(c) for c in good], [_density(c) for c in truths]),
        elements=_distance([_n_elements(c) for c in good], [_n_elements(c) for c in truths]),
        metre=known.metre,
        crmse=known.crmse,
        stable=_share(stable),
        sun=_share(sun),
        relaxed_unique=None if relaxed is None else _share(at_rest[0]),
        relaxed_novel=None if relaxed is None else _share(at_rest[1]),
        no_hull=None if hull is None else _share(np.isnan(hull)),
        energy=None if formation is None else _energy_distance(*formation, valid),
        coverage=coverage(found, truths, cutoffs=cutoffs, progress=progress)
        if has_matminer()
        else None,
    )


def _variety(
    crystals: Sequence[Crystals],
    known: dict[Composition, list[Crystals]] | None,
    progress: bool,
) -> tuple[Bools, Bools | None]:
    """Tell which crystals are the first of their kind, and which are in no reference set."""
    is_first = classes(crystals, progress=progress) == np.arange(len(crystals))
    return is_first, None if known is None else is_novel(crystals, known, progress=progress)


def _share(holds: Bools | None) -> float | None:
    return None if holds is None else float(holds.mean())


def _energy_distance(found: ArrayLike, truths: ArrayLike, valid: Bools) -> float | None:
    ours, theirs = np.asarray(found, np.float64)[valid], np.asarray(truths, np.float64)
    ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
    return _distance(ours.tolist(), theirs.tolist()) if len(theirs) else None


def _density(crystal: Crystals) -> float:
    return float(atomic_masses[crystal.numbers].sum() / crystal.volumes[0] * _GRAMS_PER_CM3)


def _n_elements(crystal: Crystals) -> float:
    return float(len(np.unique(crystal.numbers)))


def _distance(found: Sequence[float], truths: Sequence[float]) -> float | None:
    return float(wasserstein_distance(found, truths)) if found else None
