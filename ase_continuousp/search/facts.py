"""What is known of the prototypes of a search, for a ranking that sees all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.search.evidence import FARTHEST, SAME
from ase_continuousp.search.refine import Refined
from ase_continuousp.starts.element_table import PROPERTIES, element_table
from ase_continuousp.starts.origin import Origin

Floats = NDArray[np.float64]

_MOST_KNOWN = 8
_CHANGING = ("group", "row", "electronegativity", "radius", "f block")
_BOUNDED = ("electronegativity", "radius")
_SINGLED_OUT = (8, 9, 1)  # whose compounds have ways of their own

#: The facts of a prototype, by name: of the library, of judge and energy, of the composition.
FACTS = (
    "log probability",
    "nearness",
    "same composition",
    "nearest",
    "second nearest",
    "third nearest",
    "together",
    "nearest of another composition",
    "log members",
    "log repeats",
    "triclinic",
    "at most monoclinic",
    "cubic",
    "nearest is beside",
    "beside",
    "energy of nearest",
    "energy of nearest is unknown",
    "mean energy",
    "energies unknown",
    "log odds",
    "log odds above parent",
    "energy",
    "energy above parent",
    "largest force",
    "largest stress",
    "equal prototypes",
    "known polymorphs",
    "known polymorphs elsewhere",
    "atoms",
    "elements",
    "formula units",
    "largest amount",
    *(f"mean {name}" for name in PROPERTIES),
    *(f"spread of {name}" for name in PROPERTIES),
    *(f"least {name}" for name in _BOUNDED),
    *(f"greatest {name}" for name in _BOUNDED),
    *(f"contains {z}" for z in _SINGLED_OUT),
    "labels unchanged",
    *(f"largest change of {name}" for name in _CHANGING),
)


def facts(classes: Sequence[Sequence[Refined]]) -> list[Floats]:
    """Return the facts of the prototypes of each class of equal crystals.

    Parameters
    ----------
    classes : sequence of sequences of Refined
        Of one composition, in any number of formula units.

    Returns
    -------
    list of (n_prototypes, n_facts) arrays
        Prototypes in the order of the class, what they are told of named in `FACTS`.

    Examples
    --------
    >>> facts([[]])[0].shape == (0, len(FACTS))
    True
    """
    made = []
    common: dict[int, list[float]] = {}  # by the number of atoms
    for members in classes:
        known = [(one, one.start.origin) for one in members if one.start.origin is not None]
        rows = []
        for one, origin in known:
            n_atoms = one.crystals.n_atoms
            if n_atoms not in common:
                common[n_atoms] = _of_composition(one.crystals.numbers)
            own = _of_prototype(one, origin, len(known))
            rows.append(own + common[n_atoms] + _of_changes(origin))
        made.append(np.array(rows, dtype=np.float64).reshape(len(rows), len(FACTS)))
    return made


def _of_prototype(one: Refined, origin: Origin, n_equal: int) -> list[float]:
    start, found = one.start, one.found
    nearness = FARTHEST if start.nearness is None else max(start.nearness, FARTHEST)
    odds = one.log_odds or 0.0
    energy = found.energy_per_atom
    parent_odds, parent_energy = one.parent or (odds, energy)
    return [
        0.0 if start.distance is None else -start.distance,
        nearness,
        float(nearness > SAME),
        *origin.nearest,
        origin.together,
        origin.other,
        math.log(origin.n_members),
        math.log(origin.repeats),
        float(origin.spacegroup <= 2),
        float(origin.spacegroup <= 15),
        float(origin.spacegroup >= 195),
        float(origin.is_beside),
        origin.beside,
        0.0 if math.isnan(origin.energy) else origin.energy,
        float(math.isnan(origin.energy)),
        0.0 if math.isnan(origin.mean_energy) else origin.mean_energy,
        origin.unknown,
        odds,
        odds - parent_odds,
        energy,
        energy - parent_energy,
        float(np.abs(found.forces).max()),
        float(np.abs(found.stress).max()),
        float(n_equal),
        float(min(origin.n_known, _MOST_KNOWN)),
        float(min(origin.n_known_elsewhere, _MOST_KNOWN)),
    ]


def _of_composition(numbers: NDArray[np.int64]) -> list[float]:
    counts = np.unique(numbers, return_counts=True)[1]
    units = int(np.gcd.reduce(counts))
    rows = element_table()[numbers]
    bounded = rows[:, [PROPERTIES.index(name) for name in _BOUNDED]]
    return [
        float(len(numbers)),
        float(len(counts)),
        float(units),
        float(counts.max() // units),
        *rows.mean(axis=0).tolist(),
        *rows.std(axis=0).tolist(),
        *bounded.min(axis=0).tolist(),
        *bounded.max(axis=0).tolist(),
        *(float(z in numbers) for z in _SINGLED_OUT),
    ]


def _of_changes(origin: Origin) -> list[float]:
    own, nearest = np.array(origin.elements), np.array(origin.nearest_elements)
    changes = np.abs(element_table()[own] - element_table()[nearest]).max(axis=0)
    return [
        float((own == nearest).sum()),
        *(float(changes[PROPERTIES.index(name)]) for name in _CHANGING),
    ]
