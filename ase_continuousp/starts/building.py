"""Building a prototype library: classes of crystals, each with the mean of its members.

No prototype is the geometry of one crystal: each is averaged over at least two. Crystals that are
nearly the same form the first classes. Those left alone are averages of what their relatives relax
to in a learned energy, if one is given; what has none is grouped again and again with wider
tolerances, and what is alone even then is averaged with its nearest relative in another class.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import cell_to_cellpar
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.starts.averaging import Mean, averaged, idealized, symmetrized
from ase_continuousp.starts.fitting import TrainingSet, fit_substitution, tabulated_vectors
from ase_continuousp.starts.grouping import (
    Anonymous,
    PrototypeClass,
    anonymous_of,
    classes_of,
    relatives_of,
)
from ase_continuousp.starts.library import PrototypeLibrary, quantized
from ase_continuousp.starts.relaxing import relaxed_means
from ase_continuousp.starts.substitution import Substitution

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG = logging.getLogger(__name__)

#: Relative distances of fingerprints in a class, tried one after the other on what is left alone.
TOLERANCES = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
_N_TRIED = 40  # members of a class that are brought to one setting at most
_N_RELATIVES = 4
_REACH = 0.4  # of the fingerprints of relatives
_LOOSE = 0.1  # tolerance to which the mean of relatives is idealized
_ALIKE = 0.1  # crystals that differ by more are rather relaxed than averaged with each other


@dataclass(frozen=True)
class _Material:
    """The training set in the forms that are needed again and again."""

    crystals: Crystals
    anonymous: list[Anonymous]
    prints: list[NDArray[np.float32]]
    beside: NDArray[np.bool_]


def build_library(
    crystals: Crystals,
    path: str | os.PathLike[str] | None = None,
    *,
    side: ArrayLike | None = None,
    tolerances: Sequence[float] = TOLERANCES,
    symprec: float = 0.03,
    n_averaged: int = 6,
    min_members: int = 2,
    n_fit: int = 30_000,
    substitution: Substitution | None = None,
    energy: EnergyFunction | None = None,
    seed: int = 0,
    progress: bool = False,
) -> PrototypeLibrary:
    """Return the prototypes of a training set, and write them to a file if a path is given.

    Crystals of one stoichiometry whose fingerprints differ by less than the first tolerance form
    a class. Its members are brought to the setting of the first, averaged and symmetrized. Where
    fewer than ``min_members`` can be averaged, the crystals form classes with the next tolerance,
    and after the last one each is averaged with its nearest relatives. What has none is left out.
    With an energy, crystals without a like within 0.1 become means of relaxed relatives first
    (:func:`ase_continuousp.starts.relaxing.relaxed_means`).

    Parameters
    ----------
    crystals : Crystals
    path : path, optional
    side : (n_crystals,) array of bool, optional
        Crystals that are of another kind than those that will be asked for, for instance
        unstable ones: they are learned to count less.
    tolerances : sequence of float
        Largest relative distances of fingerprints in a class, ascending.
    symprec : float
        Tolerance of the symmetry search [Å at a volume of about 16 Å³ per atom].
    n_averaged : int
        How many members at most are averaged.
    min_members : int
        How many members at least are averaged. With 1, a lone crystal is a prototype: such a
        library holds single crystals of the training set and must not be passed on where they
        must not.
    n_fit : int
        Crystals on which the distance between elements is fitted; 0 leaves it as tabulated.
    substitution : Substitution, optional
        A distance fitted before, instead of fitting one.
    energy : EnergyFunction, optional
        A learned energy of these elements, in which relatives of lone crystals are relaxed.
    seed : int
    progress : bool

    Returns
    -------
    PrototypeLibrary

    Raises
    ------
    ValueError
        If side does not fit the crystals, the tolerances do not ascend, more members are asked
        for than are averaged, or there is no prototype at all.

    Examples
    --------
    >>> import numpy as np
    >>> cell = 2.8 * (np.ones((3, 3)) - np.eye(3))
    >>> salts = [Crystals.single([[0, 0, 0], [2.8] * 3], cell, z) for z in ([11, 17], [20, 8])]
    >>> library = build_library(Crystals.concatenate(salts), n_fit=0)
    >>> library.n_prototypes, library.spacegroups.tolist(), library.n_members.tolist()
    (1, [225], [2])
    """
    crystals.validate()
    beside = np.zeros(len(crystals), bool) if side is None else np.asarray(side, dtype=bool)
    if beside.shape != (len(crystals),):
        raise ValueError(f"side must have one value per crystal: {len(crystals)}, {beside.shape}")
    if not tolerances or min(np.diff([0.0, *tolerances])) <= 0.0:
        raise ValueError(f"tolerances must be positive and ascend: {tolerances}")
    if not 1 <= min_members <= n_averaged:
        raise ValueError(f"min_members must be 1 to n_averaged={n_averaged}: {min_members}")
    material = _Material(crystals, *anonymous_of(crystals), beside)
    rng = np.random.default_rng(seed)
    if substitution is None:
        substitution = _substitution(material, n_fit, rng, progress)
    columns: dict[str, list[NDArray[np.int64]]] = {}
    relax = None if energy is None else (energy, substitution)
    rows = _rows(material, tolerances, symprec, n_averaged, min_members, relax, rng, progress)
    for row in rows:
        for name, values in row.items():
            columns.setdefault(name, []).append(values)
    if not columns:
        raise ValueError(f"crystals must share structures, min_members={min_members}: none do")
    table = {name: np.concatenate(values) for name, values in columns.items()}
    library = PrototypeLibrary(
        spacegroups=table["spacegroups"].astype(np.uint8),
        shapes=table["shapes"].astype(np.uint16).reshape(-1, 6),
        sites=table["sites"].astype(np.uint16).reshape(-1, 3),
        label_counts=table["label_counts"].astype(np.uint8),
        n_labels=table["n_labels"].astype(np.uint8),
        n_members=table["n_members"].astype(np.uint32),
        elements=table["elements"].astype(np.uint8),
        side=table["side"].astype(np.bool_),
        vectors=substitution.vectors.astype(np.float32),
        constants=substitution.constants.astype(np.float32),
    )
    if path is not None:
        library.save(path)
    return library


def _substitution(
    material: _Material, n_fit: int, rng: np.random.Generator, progress: bool
) -> Substitution:
    if n_fit == 0:
        return Substitution.untrained(tabulated_vectors())
    known = TrainingSet(
        [a.elements for a in material.anonymous],
        [a.key for a in material.anonymous],
        material.crystals.counts,
        material.prints,
        material.beside,
    )
    return fit_substitution(known, n_fit=n_fit, rng=rng, progress=progress)


def _rows(
    material: _Material,
    tolerances: Sequence[float],
    symprec: float,
    n_averaged: int,
    min_members: int,
    relax: tuple[EnergyFunction, Substitution] | None,
    rng: np.random.Generator,
    progress: bool,
) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Yield what the library stores of each class, finest classes first."""
    crystals, anonymous, prints = material.crystals, material.anonymous, material.prints
    left = list(range(len(crystals)))
    settled: set[int]
    for tolerance in tolerances:
        if relax is not None and tolerance > _ALIKE:
            energy, substitution = relax
            relax = None
            known = np.unique(crystals.numbers).tolist()
            settled = set()
            for b, mean in relaxed_means(
                crystals, anonymous, prints, left, substitution, energy, known, progress=progress
            ):
                settled.add(b)
                c = PrototypeClass(b, [b], [tuple(range(len(anonymous[b].elements)))])
                yield _row(material, c, mean, symprec, _ALIKE)
            left = [b for b in left if b not in settled]
            _LOG.info("relaxed relatives: %d of %d are alone", len(left), len(crystals))
        classes = classes_of(left, crystals.counts, anonymous, prints, tolerance)
        settled = set()
        for c in tqdm(classes, disable=not progress, desc=f"prototypes {tolerance}"):
            if len(c.members) < min_members:
                continue
            others = (1 + rng.permutation(len(c.members) - 1)[:_N_TRIED]).tolist()
            mean = averaged(crystals, anonymous, c, others, n_averaged)
            if len(mean.used) < min_members:
                continue
            if tolerance > tolerances[0]:
                # So far apart, only what can be brought to one setting is of one structure.
                c = _only(c, mean.used)
            settled.update(c.members)
            yield _row(material, c, mean, symprec, tolerance)
        left = [b for b in left if b not in settled]
        _LOG.info("tolerance %g: %d of %d are alone", tolerance, len(left), len(crystals))
    alone = relatives_of(left, crystals.counts, anonymous, prints, _N_RELATIVES, _REACH)
    for c in tqdm(alone, disable=not progress, desc="relatives", total=len(left)):
        means = [
            averaged(crystals, anonymous, c, [m], 2) for m in range(1, len(c.members))
        ]  # each with the leader alone, to learn which is nearest
        order = sorted(
            (m for m in range(len(means)) if len(means[m].used) == 2),
            key=lambda m: means[m].displacement,
        )
        mean = averaged(crystals, anonymous, c, [m + 1 for m in order], min_members)
        if len(mean.used) >= min_members:
            yield _row(material, _only(c, mean.used), mean, symprec, _LOOSE)


def _only(c: PrototypeClass, places: Sequence[int]) -> PrototypeClass:
    return PrototypeClass(c.leader, [c.members[m] for m in places], [c.orders[m] for m in places])


def _row(
    material: _Material, c: PrototypeClass, mean: Mean, symprec: float, tolerance: float
) -> dict[str, NDArray[np.int64]]:
    """Return what the library stores of one class."""
    geometry = (mean.cell, mean.fractional, mean.labels)
    if len(mean.used) > 1:
        cell, fractional, labels, number = idealized(*geometry, symprec, min(tolerance, _LOOSE))
    else:
        cell, fractional, labels, number = symmetrized(*geometry, symprec)
    shape, sites = quantized(cell_to_cellpar(cell), fractional)
    pairs = zip(c.members, c.orders, strict=True)
    elements = np.stack([material.anonymous[b].elements[list(order)] for b, order in pairs])
    return {
        "spacegroups": np.array([number]),
        "shapes": shape,
        "sites": sites.ravel(),
        "label_counts": np.bincount(labels),
        "n_labels": np.array([elements.shape[1]]),
        "n_members": np.array([len(elements)]),
        "elements": elements.ravel(),
        "side": material.beside[c.members].astype(np.int64),
    }
