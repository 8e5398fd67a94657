"""Fitting the learned energy to formation energies, and how well it then does."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel, load_model, write_card
from ase_continuousp.model.continuous import MAX_NUMBER
from ase_continuousp.model.formation import FormationEnergy
from ase_continuousp.training.data import read_columns, read_crystals

Floats = NDArray[np.float64]

_log = logging.getLogger(__name__)
_N = MAX_NUMBER + 1
# On couplings; chosen on compositions left out.
_RIDGES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)
_SLIGHT = 1e-6  # on everything else, so that elements never seen stay at zero
_DIFFERENT = 0.001  # eV/atom: polymorphs closer than this are not ranked
_BATCH = 256


@dataclass(frozen=True)
class Known:
    """Crystals with formation energies.

    Parameters
    ----------
    energies : (n,) array
        U/N of the model.
    fractions : (n, 104) array
        Atomic fractions by atomic number.
    formation : (n,) array [eV/atom]
    above_hull : (n,) array [eV/atom]
        NaN where it is not known.
    """

    energies: Floats
    fractions: Floats
    formation: Floats
    above_hull: Floats

    def select(self, rows: NDArray[Any]) -> Known:
        """Return some of the crystals."""
        return Known(
            self.energies[rows], self.fractions[rows], self.formation[rows], self.above_hull[rows]
        )

    def groups(self) -> list[list[int]]:
        """Return the crystals of each composition, in order of appearance."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for row, fractions in enumerate(np.round(self.fractions, 6)):
            found[fractions.tobytes()].append(row)
        return list(found.values())


def calibrate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> dict[str, Any]:
    """Fit formation energies to a model's energy and write them into its folder.

    Parameters
    ----------
    model : path
        Folder of a model.
    data : path
        CSV file with the columns ``cif`` and ``formation_energy_per_atom`` [eV]; rows without a
        value, or with an element unknown to the model, are left out.
    test : path, optional
        Another such file, to measure on; with ``e_above_hull`` polymorphs are ranked too.
    processes : int
        Worker processes that parse CIFs.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        What the card then says under "calibration".

    Raises
    ------
    ValueError
        If a column is missing, nothing is left, or lower energies do not mean lower formation
        energies.
    """
    trained = load_model(model)
    trained.require_own_folder()
    known = read_known(trained, data, processes=processes, progress=progress)
    fitted, ridge = fit_formation(known)
    entry: dict[str, Any] = {
        "data": _label(data),
        "crystals": len(known.formation),
        "energy_unit": round(fitted.energy_unit, 6),
        "ridge": ridge,
        "mae_fitted": round(mean_absolute_error(fitted, known), 4),
    }
    if test is not None:
        tried = read_known(trained, test, processes=processes, progress=progress)
        alone, _ = fit_formation(known, with_energy=False)
        entry["test"] = {
            "data": _label(test),
            "crystals": len(tried.formation),
            "mae": round(mean_absolute_error(fitted, tried), 4),
            "mae_of_composition_alone": round(mean_absolute_error(alone, tried), 4),
            **pairwise_accuracy(tried),
        }
    fitted.save(trained.path)
    write_card(trained.path, trained.card | {"calibration": entry})
    return entry


def read_known(
    model: TrainedModel,
    path: str | os.PathLike[str],
    *,
    processes: int = 1,
    progress: bool = False,
) -> Known:
    """Return the crystals of a file that have a formation energy, evaluated by a model.

    Those that hold an element unknown to the model are left out.
    """
    names = ("formation_energy_per_atom", "e_above_hull")
    columns = read_columns(path, names)
    if names[0] not in columns:
        raise ValueError(f"data: {path} must have a column {names[0]!r}")
    formation = _numbers(columns[names[0]])
    above = _numbers(columns.get(names[1], [""] * len(formation)))
    crystals = read_crystals(path, processes=processes, progress=progress)
    if crystals.n_crystals != len(formation):
        raise ValueError(
            f"data: {path} has {len(formation)} rows but {crystals.n_crystals} of them are crystals"
        )
    rows = np.flatnonzero(np.isfinite(formation))
    if not len(rows):
        raise ValueError(f"data: no row of {path} has a value of {names[0]!r}")
    of_atoms = np.isin(crystals.numbers, model.elements)
    is_known = np.logical_and.reduceat(of_atoms, crystals.offsets[:-1])
    if not is_known[rows].all():
        _log.info("%d crystals hold elements unknown to the model", np.sum(~is_known[rows]))
        rows = rows[is_known[rows]]
    if not len(rows):
        raise ValueError(f"data: no crystal of {path} consists of elements of {model.name!r}")
    return Known(
        _energies(model, crystals, rows, progress),
        np.array([_fractions(crystals, int(row)) for row in rows]),
        formation[rows],
        above[rows],
    )


def fit_formation(known: Known, *, with_energy: bool = True) -> tuple[FormationEnergy, float]:
    """Return the fit and the ridge that did best on every tenth composition, left out.

    Parameters
    ----------
    known : Known
    with_energy : bool
        If false the energy is not used: what the composition alone says.

    Raises
    ------
    ValueError
        If the factor of the energy is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> fractions = np.zeros((60, 104))
    >>> fractions[:, 8] = rng.uniform(size=60)
    >>> fractions[:, 12] = 1 - fractions[:, 8]
    >>> energies = rng.normal(size=60)
    >>> formation = 0.2 * energies - 3 * fractions[:, 8] * fractions[:, 12]
    >>> known = Known(energies, fractions, formation, np.full(60, np.nan))
    >>> fitted, _ = fit_formation(known)
    >>> round(fitted.energy_unit, 2)
    0.2
    """
    groups = known.groups()
    held = np.zeros(len(known.formation), dtype=bool)
    held[[row for group in groups[::10] for row in group]] = True
    best = _RIDGES[0]
    if not held.all():
        part, rest = known.select(~held), known.select(held)
        errors = [mean_absolute_error(_fit(part, r, with_energy), rest) for r in _RIDGES]
        best = _RIDGES[int(np.argmin(errors))]
        _log.info("ridges %s: mean absolute errors %s", _RIDGES, errors)
    fitted = _fit(known, best, with_energy)
    if with_energy and not fitted.energy_unit > 0:
        raise ValueError(
            "data: lower energies of this model do not mean lower formation energies "
            f"(factor {fitted.energy_unit:.3g} eV)"
        )
    return fitted, best


def mean_absolute_error(fitted: FormationEnergy, known: Known) -> float:
    """Return the mean absolute error of formation energies [eV/atom]."""
    pairs = 0.5 * np.einsum("kx,kx->k", known.fractions @ fitted.couplings, known.fractions)
    made = fitted.energy_unit * known.energies + known.fractions @ fitted.offsets + pairs
    return float(np.abs(made - known.formation).mean())


def pairwise_accuracy(known: Known) -> dict[str, float]:
    """Return how often the lower in energy of two polymorphs is the one nearer to the hull.

    Examples
    --------
    >>> same = np.eye(104)[[8, 8, 8]]
    >>> above = np.array([0.0, 0.1, 0.2])
    >>> pairwise_accuracy(Known(np.array([1.0, 3.0, 2.0]), same, above, above))["pairs"]
    3
    """
    right, compositions = [], 0
    for group in known.groups():
        own = []
        for a, b in combinations(group, 2):
            difference = known.above_hull[a] - known.above_hull[b]
            if abs(difference) > _DIFFERENT:  # false for NaN
                own.append((known.energies[a] - known.energies[b]) * difference > 0)
        right += own
        compositions += bool(own)
    return {
        "pairs": len(right),
        "compositions": compositions,
        "pairwise_accuracy": round(float(np.mean(right)), 4) if right else float("nan"),
    }


def _fit(known: Known, ridge: float, with_energy: bool) -> FormationEnergy:
    x = known.fractions
    present = np.flatnonzero(x.any(axis=0))
    seen = (x[:, present] > 0).astype(float)
    first, second = np.nonzero(np.triu(seen.T @ seen, 1))
    first, second = present[first], present[second]
    columns = [sparse.csr_matrix(x), sparse.csr_matrix(x[:, first] * x[:, second])]
    if with_energy:
        columns.append(sparse.csr_matrix(known.energies[:, None]))
    matrix = sparse.hstack(columns).tocsr()
    penalty = np.full(matrix.shape[1], _SLIGHT)
    penalty[_N : _N + len(first)] = ridge
    normal = (matrix.T @ matrix).toarray() + np.diag(penalty)
    solved = cho_solve(cho_factor(normal), matrix.T @ known.formation)
    couplings = np.zeros((_N, _N))
    couplings[first, second] = couplings[second, first] = solved[_N : _N + len(first)]
    return FormationEnergy(float(solved[-1]) if with_energy else 0.0, solved[:_N], couplings)


def _energies(
    model: TrainedModel, crystals: Crystals, rows: NDArray[Any], progress: bool
) -> Floats:
    energy = model.energy()
    made = np.empty(len(rows))
    order = np.argsort(crystals.counts[rows], kind="stable")
    batches = [order[k : k + _BATCH] for k in range(0, len(order), _BATCH)]
    for batch in tqdm(batches, desc="evaluating", unit="batch", disable=not progress):
        chosen = crystals.select(rows[batch].tolist())
        made[batch] = energy(chosen).energy / chosen.counts
    return made


def _fractions(crystals: Crystals, row: int) -> Floats:
    first, last = crystals.offsets[row : row + 2]
    fractions: Floats = np.bincount(crystals.numbers[first:last], minlength=_N) / (last - first)
    return fractions


def _numbers(texts: Sequence[str]) -> Floats:
    return np.array([float(text) if text.strip() else np.nan for text in texts])


def _label(path: str | os.PathLike[str]) -> str:
    path = Path(path)
    return f"{path.parent.name}/{path.name.split('.')[0]}".lstrip("/")
