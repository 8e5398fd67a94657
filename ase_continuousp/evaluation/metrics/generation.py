"""All metrics of a set of generated crystals in one record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses
from numpy.typing import ArrayLike
from scipy.stats import wasserstein_distance

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.recall import recall
from ase_continuousp.evaluation.metrics.validity import charge_rules, has_room, is_charge_balanced
from ase_continuousp.evaluation.metrics.variety import by_composition, classes, is_novel

_GRAMS_PER_CM3 = 1.66053907  # of one dalton per cubic Ångström


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

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return asdict(self)

    def summary(self) -> str:
        """Return the metrics as lines of text, shares with one standard error."""
        shares = ("charge", "room", "valid", "unique", "novel", "metre", "stable", "sun")
        lines = [f"metrics of {self.n} crystals, charges by {self.rules}"]
        for name, value in self.to_dict().items():
            if name in ("n", "rules") or value is None:
                continue
            text = f"{name:9s} {value:.3f}"
            if name in shares:
                text += f" ± {math.sqrt(value * (1 - value) / self.n):.3f}"
            lines.append(text)
        return "\n".join(lines)


def generation_metrics(
    found: Sequence[Crystals],
    truths: Sequence[Crystals],
    *,
    reference: Crystals | None = None,
    above_hull: ArrayLike | None = None,
    threshold: float = 0.1,
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
    threshold : float [eV per atom]
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
    labels = classes(found, progress=progress)
    is_first = labels == np.arange(len(found))
    novel = None
    if reference is not None:
        novel = is_novel(found, by_composition(reference), progress=progress)
    good = [one for one, is_valid in zip(found, valid, strict=True) if is_valid]
    known = recall(found, truths)
    stable = None if above_hull is None else np.asarray(above_hull, np.float64) <= threshold
    sun = None if stable is None or novel is None else float(np.mean(stable & is_first & novel))
    return GenerationMetrics(
        n=len(found),
        rules=charge_rules(),
        charge=float(charge.mean()),
        room=float(room.mean()),
        valid=float(valid.mean()),
        unique=float(is_first.mean()),
        novel=None if novel is None else float(novel.mean()),
        density=_distance([_density(c) for c in good], [_density(c) for c in truths]),
        elements=_distance([_n_elements(c) for c in good], [_n_elements(c) for c in truths]),
        metre=known.metre,
        crmse=known.crmse,
        stable=None if stable is None else float(stable.mean()),
        sun=sun,
    )


def _density(crystal: Crystals) -> float:
    return float(atomic_masses[crystal.numbers].sum() / crystal.volumes[0] * _GRAMS_PER_CM3)


def _n_elements(crystal: Crystals) -> float:
    return float(len(np.unique(crystal.numbers)))


def _distance(found: Sequence[float], truths: Sequence[float]) -> float | None:
    return float(wasserstein_distance(found, truths)) if found else None
