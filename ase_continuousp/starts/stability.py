"""Which members of a prototype library are stable: energies carried over from a training set.

Formulas have polymorphs, and a library built from structures alone counts all of them alike. Who
asks for the crystal of a formula means the stable one. So each member of a library may carry the
energy above the convex hull that its crystal has in the training set, and in a search from the
formula alone unstable members count less. With the chemical log weight w of a member
(:mod:`ase_continuousp.starts.substitution`, unscaled) and its energy E above the hull,

    log weight = 0.96 w - penalty(E),

smooth in E because energies of polymorphs are uncertain by some 10 meV. The constants maximize the
likelihood of validation crystals on the hull (1,198 of mp_20/val, by the library of mp_20/train and
mp_other_le20/train). Crystals of the very formula count like others: between a training set and a
validation set that share no crystal, they could only be wrong, so nothing can be learned of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.fingerprint import fingerprints
from ase_continuousp.starts.library import PrototypeLibrary, stoichiometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# eV/atom in one unit of the stored energies: how stable a member is, not its energy.
STEP = 0.02
UNKNOWN = 255
STABLE_LOG_NONE = -13.75  # log weight of the target being none of the known prototypes
#: How much nearer crystals must be to match: the first one is what counts here, and a polytype
#: between two known structures must not stand for both.
STABLE_NEARER = 1.5
_SHARPNESS = 0.96
_HIGHEST = 0.08  # eV/atom above which nothing changes
#: Penalties of members: per eV/atom above the hull, energy unknown, beside.
_PENALTIES = (99.0, 4.07, 4.66)
_FARTHEST = 0.5  # relative distance of fingerprints of a crystal and its class

Formula = tuple[tuple[int, int], ...]


def stored_energies(energies: ArrayLike) -> NDArray[np.uint8]:
    """Return energies above the hull [eV/atom] in the form that a library keeps.

    Parameters
    ----------
    energies : array
        NaN where it is not known.

    Examples
    --------
    >>> stored_energies([0.0, 0.0312, 3.0, float("nan")]).tolist()
    [0, 2, 4, 255]
    """
    steps = np.rint(np.asarray(energies, dtype=np.float64) / STEP)
    return np.where(np.isnan(steps), UNKNOWN, np.clip(steps, 0, round(_HIGHEST / STEP))).astype(
        np.uint8
    )


def stable_log_weights(chemical: ArrayLike, energies: ArrayLike, side: ArrayLike) -> Floats:
    """Return the log weights of members where the stable crystal of a formula is asked for.

    Parameters
    ----------
    chemical : (..., n_members) array
        Unscaled log weights by chemical distance.
    energies : (n_members,) array of uint8
        Above the hull, in the stored form.
    side : (n_members,) array of bool
        Members from material that is only beside the kind of crystals asked for.

    Returns
    -------
    (..., n_members) array

    Examples
    --------
    >>> weights = stable_log_weights([0.0, 0.0], [0, 2], [False] * 2)
    >>> bool(weights[0] > weights[1])
    True
    """
    stored, beside = np.asarray(energies), np.asarray(side, dtype=bool)
    energy = np.minimum(stored * STEP, _HIGHEST)
    terms = np.stack(
        [
            np.where(stored != UNKNOWN, energy, 0.0),
            (stored == UNKNOWN) & ~beside,
            beside,
        ]
    )
    made: Floats = _SHARPNESS * np.asarray(chemical, dtype=np.float64) - _PENALTIES @ terms
    return made


def lacks_stable_form(library: PrototypeLibrary, numbers: ArrayLike) -> bool:
    """Return whether these are atoms of one element of which the library knows only other forms.

    Of every element some crystal lies on the convex hull, which need not be so of a compound. Where
    none of the known ones does, or is not known to, the stable one is missing, and they say nothing
    of it. Of the 61 elements that are fcc, bcc, hcp or diamond by the reference states of ASE, 44
    are first so, 39 otherwise (`benchmarks/elements.py`).

    Parameters
    ----------
    library : PrototypeLibrary
        With energies.
    numbers : (n_atoms,) array of int

    Examples
    --------
    >>> from dataclasses import replace
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> from ase_continuousp.starts.building import build_library
    >>> metals = from_atoms([bulk("Cu"), bulk("Ag", a=4.2)])
    >>> library = build_library(metals, n_fit=0)
    >>> known = replace(library, energies=member_energies(library, metals, [0.0, 0.05]))
    >>> lacks_stable_form(known, [29]), lacks_stable_form(known, [47])
    (False, True)
    """
    elements = np.unique(np.asarray(numbers, dtype=np.int64))
    if len(elements) > 1:
        return False
    for p in library.of_stoichiometry((1,)):
        rows, _ = library.members(p)
        if np.any((rows[:, 0] == elements[0]) & (library.member_energies(p) == 0)):
            return False
    return True


def member_energies(
    library: PrototypeLibrary, crystals: Crystals, energies: ArrayLike
) -> NDArray[np.uint8]:
    """Return the energy above the hull of each member of a library, in its stored form.

    A member is the crystal of its formula that is nearest to the prototype by fingerprint.

    Parameters
    ----------
    library : PrototypeLibrary
    crystals : Crystals
        Of the training set that the library was built from, in any order.
    energies : (n_crystals,) array
        Above the hull [eV/atom]; NaN where it is not known.

    Returns
    -------
    (n_members,) array
        In the order of ``library.side``.
    """
    stored = stored_energies(energies)
    made = np.full(len(library.side), UNKNOWN, dtype=np.uint8)
    known: dict[Formula, list[int]] = {}
    for b in np.flatnonzero(stored != UNKNOWN).tolist():
        numbers = crystals.numbers[crystals.offsets[b] : crystals.offsets[b + 1]]
        known.setdefault(_formula(numbers), []).append(b)
    wanted: dict[Formula, list[tuple[int, int]]] = {}
    row = 0
    for p in range(library.n_prototypes):
        counts = library.counts(p)
        common = stoichiometry(counts)[1]
        for elements in library.members(p)[0].tolist():
            formula = tuple(sorted((z, c // common) for z, c in zip(elements, counts, strict=True)))
            if formula in known:
                wanted.setdefault(formula, []).append((p, row))
            row += 1
    for n in range(1, 1 + max((len(f) for f in wanted), default=0)):
        chosen = {f: places for f, places in wanted.items() if len(f) == n}
        if chosen:
            _assign(library, crystals, {f: known[f] for f in chosen}, chosen, stored, made)
    return made


def _assign(
    library: PrototypeLibrary,
    crystals: Crystals,
    known: dict[Formula, list[int]],
    places: dict[Formula, list[tuple[int, int]]],
    stored: NDArray[np.uint8],
    made: NDArray[np.uint8],
) -> None:
    """Write the energies of formulas of one number of elements."""
    n_labels = len(next(iter(known)))
    used = sorted({p for members in places.values() for p, _ in members})
    batch = library.crystals(used)
    classes = dict(zip(used, fingerprints(batch, batch.numbers, n_labels), strict=True))
    rows = sorted({b for group in known.values() for b in group})
    some = crystals.select(rows)
    labels = np.concatenate(
        [np.unique(z, return_inverse=True)[1] for z in np.split(some.numbers, some.offsets[1:-1])]
    )
    prints = dict(zip(rows, fingerprints(some, labels, n_labels), strict=True))
    elements = _element_rows(library, {row for members in places.values() for _, row in members})
    for formula, members in places.items():
        gaps = []
        for p, row in members:
            order = np.argsort(elements[row])
            own = classes[p][np.ix_(order, order)]
            for b in known[formula]:
                scale = np.sqrt(np.sum(own**2) * np.sum(prints[b] ** 2))
                gap = float(np.sqrt(np.sum((own - prints[b]) ** 2) / scale))
                gaps.append((gap, row, b))
        rows_left = {row for _, row in members}
        crystals_left = set(known[formula])
        for gap, row, b in sorted(gaps):
            if gap < _FARTHEST and row in rows_left and b in crystals_left:
                made[row] = stored[b]
                rows_left.remove(row)
                crystals_left.remove(b)


def _element_rows(library: PrototypeLibrary, rows: set[int]) -> dict[int, list[int]]:
    made = {}
    row = 0
    for p in range(library.n_prototypes):
        for elements in library.members(p)[0].tolist():
            if row in rows:
                made[row] = elements
            row += 1
    return made


def _formula(numbers: Integers) -> Formula:
    elements, counts = np.unique(numbers, return_counts=True)
    common = int(np.gcd.reduce(counts))
    return tuple(zip(elements.tolist(), (counts // common).tolist(), strict=True))
