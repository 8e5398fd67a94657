"""Building a prototype library: grouping crystals into classes and averaging their members."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import spglib
from ase.geometry import cell_to_cellpar
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.alignment import aligned
from ase_continuousp.starts.fingerprint import GRID, fingerprints, relabelings
from ase_continuousp.starts.fitting import TrainingSet, fit_substitution, tabulated_vectors
from ase_continuousp.starts.library import (
    PrototypeLibrary,
    anonymized,
    quantized,
    stoichiometry,
)
from ase_continuousp.starts.substitution import Substitution

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG = logging.getLogger(__name__)
_LENGTH = 2.5  # ℓ [Å] at which the tolerance of the symmetry search is meant
_MOST_RELABELINGS = 120
_WIDER = (8.0, 4.0, 2.0)  # multiples of the symmetry tolerance tried on means of members
_FARTHEST = 0.2  # members displaced further [ℓ] are not averaged


@dataclass
class PrototypeClass:
    """Crystals of one structure: the first one leads, each with the element of every label."""

    leader: int
    members: list[int] = field(default_factory=list)
    orders: list[tuple[int, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Anonymous:
    """A crystal without its elements: they are kept beside, in the order of the labels."""

    elements: Integers
    key: tuple[int, ...]
    labels: Integers


def build_library(
    crystals: Crystals,
    path: str | os.PathLike[str] | None = None,
    *,
    side: ArrayLike | None = None,
    tolerance: float = 0.05,
    symprec: float = 0.03,
    n_averaged: int = 6,
    min_members: int = 1,
    n_fit: int = 30_000,
    substitution: Substitution | None = None,
    seed: int = 0,
    progress: bool = False,
) -> PrototypeLibrary:
    """Return the prototypes of a training set, and write them to a file if a path is given.

    Crystals of one stoichiometry whose fingerprints differ by less than the tolerance form a
    class. Its members are brought to the setting of the first, averaged and symmetrized.

    Parameters
    ----------
    crystals : Crystals
    path : path, optional
    side : (n_crystals,) array of bool, optional
        Crystals that are of another kind than those that will be asked for, for instance
        unstable ones: they are learned to count less.
    tolerance : float
        Largest relative distance of fingerprints in a class.
    symprec : float
        Tolerance of the symmetry search [Å at a volume of about 16 Å³ per atom].
    n_averaged : int
        How many members at most are averaged.
    min_members : int
        Leave out rarer prototypes.
    n_fit : int
        Crystals on which the distance between elements is fitted; 0 leaves it as tabulated.
    substitution : Substitution, optional
        A distance fitted before, instead of fitting one.
    seed : int
    progress : bool

    Returns
    -------
    PrototypeLibrary

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
    anonymous, prints = _anonymous(crystals)
    classes = _classes(crystals, anonymous, prints, tolerance)
    classes = [c for c in classes if len(c.members) >= min_members]
    _LOG.info("%d crystals form %d classes", len(crystals), len(classes))
    rng = np.random.default_rng(seed)
    if substitution is None and n_fit == 0:
        substitution = Substitution.untrained(tabulated_vectors())
    if substitution is None:
        known = TrainingSet(
            [a.elements for a in anonymous],
            [a.key for a in anonymous],
            crystals.counts,
            prints,
            beside,
        )
        substitution = fit_substitution(known, n_fit=n_fit, rng=rng, progress=progress)
    columns: dict[str, list[NDArray[np.int64]]] = {}
    for c in tqdm(classes, disable=not progress, desc="prototypes"):
        for name, values in _row(
            crystals, anonymous, c, beside, symprec, tolerance, n_averaged, rng
        ).items():
            columns.setdefault(name, []).append(values)
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


def _anonymous(crystals: Crystals) -> tuple[list[Anonymous], list[NDArray[np.float32]]]:
    """Strip each crystal of its elements and take its fingerprint."""
    made = []
    for begin, end in zip(crystals.offsets[:-1], crystals.offsets[1:], strict=True):
        elements, counts, labels = anonymized(crystals.numbers[begin:end])
        made.append(Anonymous(elements, stoichiometry(counts)[0], labels))
    n_labels = np.array([len(a.elements) for a in made])
    prints: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(made)
    for n in np.unique(n_labels):
        chosen = np.flatnonzero(n_labels == n)
        labels = np.concatenate([made[b].labels for b in chosen])
        rows = fingerprints(crystals.select(chosen), labels, int(n)).astype(np.float32)
        for b, row in zip(chosen, rows, strict=True):
            prints[b] = row
    return made, prints


def _classes(
    crystals: Crystals,
    anonymous: list[Anonymous],
    prints: list[NDArray[np.float32]],
    tolerance: float,
) -> list[PrototypeClass]:
    """Put each crystal into the class of the nearest leader, or let it lead a new one.

    Small cells come first, so that a supercell joins the class of its primitive cell.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for b in np.argsort(crystals.counts, kind="stable").tolist():
        groups.setdefault(anonymous[b].key, []).append(b)
    classes: list[PrototypeClass] = []
    for key, group in sorted(groups.items()):
        orders = relabelings(key)
        orders = orders if len(orders) <= _MOST_RELABELINGS else orders[:1]
        leaders = np.empty((len(group), len(key) ** 2 * len(GRID)), np.float32)
        norms = np.empty(len(group), np.float32)
        found: list[PrototypeClass] = []
        for b in group:
            # Row k of a relabeled fingerprint is what stood at label order[k].
            rows = np.stack([prints[b][np.ix_(o, o)].ravel() for o in orders])
            norm = float(np.sum(rows[0] ** 2))
            best, which, order = tolerance**2, -1, 0
            if found:
                known = norms[: len(found)]
                squares = norm + known - 2.0 * rows @ leaders[: len(found)].T
                squares = squares / np.sqrt(norm * known + 1e-30)
                order, which = divmod(int(np.argmin(squares)), len(found))
                best = float(squares[order, which])
            if not found or best >= tolerance**2:
                leaders[len(found)], norms[len(found)] = rows[0], norm
                which, order = len(found), 0
                found.append(PrototypeClass(b))
            found[which].members.append(b)
            found[which].orders.append(orders[order])
        classes += found
    return classes


def _row(
    crystals: Crystals,
    anonymous: list[Anonymous],
    c: PrototypeClass,
    beside: NDArray[np.bool_],
    symprec: float,
    tolerance: float,
    n_averaged: int,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Return what the library stores of one class."""
    others = list(range(1, len(c.members)))
    if len(others) >= n_averaged:
        others = rng.choice(others, n_averaged - 1, replace=False).tolist()
    counts = np.bincount(anonymous[c.leader].labels)
    cell, reference = _sorted(crystals, c.leader, anonymous[c.leader].labels)
    unit = cell * np.cbrt(len(reference) / abs(np.linalg.det(cell)))
    metrics, settings = [unit @ unit.T], [reference]
    for m in others:
        # The label that each label of the member takes in the class.
        place = np.argsort(c.orders[m])
        other = _sorted(crystals, c.members[m], place[anonymous[c.members[m]].labels])
        if len(other[1]) != len(reference):
            continue
        like = aligned(cell, reference, *other, counts)
        if like is not None and like[2] < _FARTHEST:
            metrics.append(like[0])
            settings.append(like[1])
    mean_cell = np.linalg.cholesky(np.mean(metrics, axis=0))
    mean = np.mean(settings, axis=0)
    labels = np.repeat(np.arange(len(counts)), counts)
    if len(metrics) > 1:
        ideal = _idealized(mean_cell, mean, labels, symprec, tolerance)
    else:
        ideal = _symmetrized(mean_cell, mean, labels, symprec)
    cell, fractional, labels, number = ideal
    shape, sites = quantized(cell_to_cellpar(cell), fractional)
    pairs = zip(c.members, c.orders, strict=True)
    elements = np.stack([anonymous[b].elements[list(order)] for b, order in pairs])
    return {
        "spacegroups": np.array([number]),
        "shapes": shape,
        "sites": sites.ravel(),
        "label_counts": np.bincount(labels),
        "n_labels": np.array([elements.shape[1]]),
        "n_members": np.array([len(elements)]),
        "elements": elements.ravel(),
        "side": beside[c.members].astype(np.int64),
    }


def _sorted(crystals: Crystals, b: int, labels: Integers) -> tuple[Floats, Floats]:
    """Return cell and fractional coordinates of a crystal, sorted by label."""
    order = np.argsort(labels, kind="stable")
    positions = crystals.positions[crystals.offsets[b] : crystals.offsets[b + 1]][order]
    cell = crystals.cells[b]
    return cell, positions @ np.linalg.inv(cell)


def _idealized(
    cell: Floats, fractional: Floats, labels: Integers, symprec: float, tolerance: float
) -> tuple[Floats, Floats, Integers, int]:
    """Return the most symmetric cell that is still of the class.

    The mean of distorted members may be as near to the undistorted structure as they are to each
    other; then that is what they have in common.
    """
    own = _print(cell, fractional, labels)
    for wider in _WIDER:
        ideal = _symmetrized(cell, fractional, labels, wider * symprec)
        distance = np.linalg.norm(_print(*ideal[:3]) - own) / np.linalg.norm(own)
        if distance < tolerance:
            return ideal
    return _symmetrized(cell, fractional, labels, symprec)


def _print(cell: Floats, fractional: Floats, labels: Integers) -> Floats:
    one = Crystals.single(fractional @ cell, cell, labels)
    return fingerprints(one, labels, int(labels.max()) + 1)


def _symmetrized(
    cell: Floats, fractional: Floats, labels: Integers, symprec: float
) -> tuple[Floats, Floats, Integers, int]:
    """Return the idealized primitive cell at one Å³ per atom, sorted by label, and its group."""
    number = 1
    for tolerance in (symprec, symprec / 5.0, symprec / 50.0):
        raw: Any = (cell * _LENGTH, fractional, labels + 1)
        dataset = spglib.get_symmetry_dataset(raw, symprec=tolerance)
        if dataset is None:
            continue
        # The idealized conventional cell is exactly symmetric: its own symmetry is found fast.
        whole: Any = (dataset.std_lattice, dataset.std_positions, dataset.std_types)
        ideal = spglib.find_primitive(whole, symprec=1e-4)
        if ideal is not None:
            number = int(dataset.number)
            cell, fractional = np.asarray(ideal[0]), np.asarray(ideal[1])
            labels = np.asarray(ideal[2], dtype=np.int64) - 1
            break
    order = np.argsort(labels, kind="stable")
    cell = cell * np.cbrt(len(labels) / abs(np.linalg.det(cell)))
    return cell, fractional[order], labels[order], number
