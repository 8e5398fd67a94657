"""Distances from the convex hull, and how well predicted ones sort the stable from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Classification:
    """How predicted distances from the hull sort crystals.

    Values that are not defined, such as the precision where nothing is called stable, are None.

    Parameters
    ----------
    n : int
    prevalence : float
        Share of crystals that are stable.
    precision, recall, f1 : float or None
    daf : float or None
        Discovery acceleration factor: precision over prevalence, how many times more often a
        crystal that is called stable is so than one picked blindly.
    mae : float or None
        Of the distances, over crystals with a prediction.
    n_missing : int
        Crystals without a prediction; they count as called unstable.
    """

    n: int
    prevalence: float
    precision: float | None
    recall: float | None
    f1: float | None
    daf: float | None
    mae: float | None
    n_missing: int


def classify_stability(
    true: ArrayLike, predicted: ArrayLike, *, threshold: float = 0.0
) -> Classification:
    """Return how well predictions of e_above_hull tell which crystals are stable.

    As Matbench Discovery has it (Riebesell et al. 2025, doi:10.1038/s42256-025-01055-1): stable
    is what lies at most `threshold` above the hull, and crystals without a prediction are called
    unstable, as in ``stable_metrics`` of its code with its default ``fillna=True``. (On its
    leaderboard the acceleration among the 10,000 most stable refers to the prevalence of the whole
    set; that set is not chosen here.)

    Parameters
    ----------
    true, predicted : (n,) arrays [eV per atom]
        A prediction may be NaN.
    threshold : float [eV per atom]

    Raises
    ------
    ValueError
        If the lengths differ, there is nothing, or a true value is not finite.

    Examples
    --------
    >>> classify_stability([0.0, 0.0, 0.1, 0.1], [0.0, 0.05, 0.0, 0.1]).f1
    0.5
    """
    truth, guess = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if truth.ndim != 1 or truth.shape != guess.shape or not len(truth):
        raise ValueError(
            f"true and predicted must be lists of one length: {truth.shape} and {guess.shape}"
        )
    if not np.isfinite(truth).all():
        raise ValueError("true must be finite everywhere")
    is_stable, called = truth <= threshold, guess <= threshold  # NaN is not called stable
    hits = int(np.sum(is_stable & called))
    n_stable, n_called = int(is_stable.sum()), int(called.sum())
    prevalence = n_stable / len(truth)
    precision = hits / n_called if n_called else None
    known = np.isfinite(guess)
    return Classification(
        n=len(truth),
        prevalence=prevalence,
        precision=precision,
        recall=hits / n_stable if n_stable else None,
        f1=2 * hits / (n_stable + n_called) if n_called and n_stable and hits else None,
        daf=precision / prevalence if precision is not None and prevalence else None,
        mae=float(np.abs(truth - guess)[known].mean()) if known.any() else None,
        n_missing=int(np.sum(~known)),
    )


def hull_distances(candidates: Sequence[Atoms], reference: Sequence[Atoms]) -> Floats:
    """Return the energy above the convex hull of a reference set, eV per atom (pymatgen).

    All energies have to come from one method: the same calculator, or the same DFT with the same
    corrections. A candidate below the hull has a negative distance.

    Parameters
    ----------
    candidates, reference : sequences of Atoms
        With energies [eV], from a calculator or as read from a file.

    Returns
    -------
    (n,) array; NaN where the reference lacks an element of the candidate.

    Raises
    ------
    ValueError
        If the reference is empty.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.singlepoint import SinglePointCalculator
    >>> def with_energy(atoms, energy):
    ...     atoms.calc = SinglePointCalculator(atoms, energy=energy)
    ...     return atoms
    >>> known = [with_energy(bulk("Cu"), -4.0), with_energy(bulk("Au"), -3.0)]
    >>> hull_distances([with_energy(bulk("CuAu", "rocksalt", a=5.0), -6.8)], known).round(3)
    array([0.1])
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    if not len(reference):
        raise ValueError("reference must hold at least one crystal with an energy: got none")

    def entry(atoms: Atoms) -> PDEntry:
        formula = Composition(atoms.get_chemical_formula())
        return PDEntry(formula, atoms.get_potential_energy())

    known = [entry(atoms) for atoms in reference]
    elements = [{element.symbol for element in one.composition} for one in known]
    singles = {next(iter(e)) for e in elements if len(e) == 1}
    diagrams: dict[frozenset[str], PhaseDiagram] = {}
    found = np.full(len(candidates), np.nan)
    for place, atoms in enumerate(candidates):
        system = frozenset(atoms.get_chemical_symbols())
        if not system <= singles:
            continue
        if system not in diagrams:
            inside = [one for one, held in zip(known, elements, strict=True) if held <= system]
            diagrams[system] = PhaseDiagram(inside)
        found[place] = diagrams[system].get_decomp_and_e_above_hull(
            entry(atoms), allow_negative=True
        )[1]
    return found
