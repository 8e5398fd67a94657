"""Prototypes of crystals that have no like, from what the energy makes of their relatives.

A crystal that shares its structure with no other one still says which sites a structure has. What
it has in common with crystals that it could become is averaged instead: one of its elements is
replaced by a similar one, in two ways, and what keeps the structure best when it is relaxed in the
learned energy is the second member of its class.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.sampling.moves import AnnealSettings
from ase_continuousp.sampling.quench import quench
from ase_continuousp.starts.averaging import Mean, averaged
from ase_continuousp.starts.fingerprint import fingerprints
from ase_continuousp.starts.grouping import Anonymous, PrototypeClass
from ase_continuousp.starts.substitution import Substitution, similar

Integers = NDArray[np.int64]

_N_RELATIVES = 2
_STRAYED = 0.4  # relative distance of fingerprints beyond which a relative became something else
_BATCH = 48  # crystals whose relatives are relaxed together
_SETTINGS = AnnealSettings(quench_steps=30, tolerance=0.05)


def relaxed_means(
    crystals: Crystals,
    anonymous: Sequence[Anonymous],
    prints: Sequence[NDArray[np.float32]],
    chosen: Sequence[int],
    substitution: Substitution,
    energy: EnergyFunction,
    elements: Collection[int],
    *,
    progress: bool = False,
) -> Iterator[tuple[int, Mean]]:
    """Yield chosen crystals with the mean of each and what one of its relatives relaxes to.

    Parameters
    ----------
    crystals : Crystals
    anonymous : sequence of Anonymous
    prints : sequence of array
        Fingerprints of the crystals.
    chosen : sequence of int
    substitution : Substitution
        Says which elements are similar.
    energy : EnergyFunction
    elements : collection of int
        Atomic numbers that the energy knows.
    progress : bool

    Yields
    ------
    int, Mean
        Only crystals of which some relative keeps the structure.
    """
    # Crystals of one size together: they converge in about as many steps.
    order = sorted(chosen, key=lambda b: int(crystals.counts[b]))
    for first in tqdm(range(0, len(order), _BATCH), disable=not progress, desc="relaxing"):
        some = order[first : first + _BATCH]
        relatives = {
            b: similar(one.elements, one.labels, substitution, elements, _N_RELATIVES)
            for b, one in ((b, anonymous[b]) for b in some)
        }
        source = np.array([b for b in some for _ in relatives[b]], dtype=np.int64)
        if not len(source):
            continue
        batch = crystals.select(source)
        labels = np.concatenate([anonymous[b].labels for b in source])
        numbers = np.concatenate([row[anonymous[b].labels] for b in some for row in relatives[b]])
        batch = Crystals(batch.positions, batch.cells, numbers, batch.offsets)
        relaxed, _, _ = quench(energy, batch, energy(batch), _SETTINGS)
        distances = _distances(relaxed, labels, source, prints)
        for b in some:
            family = np.flatnonzero((distances < _STRAYED) & (source == b))
            family = family[np.argsort(distances[family], kind="stable")]
            if len(family):
                mean = _mean(crystals.select([b]), relaxed.select(family), anonymous[b])
                if len(mean.used) > 1:
                    yield b, mean


def _mean(one: Crystals, family: Crystals, anonymous: Anonymous) -> Mean:
    everyone = Crystals.concatenate([one, family])
    members = list(range(len(everyone)))
    same = tuple(range(len(anonymous.elements)))
    alike = PrototypeClass(0, members, [same] * len(members))
    return averaged(everyone, [anonymous] * len(members), alike, members[1:], 2)


def _distances(
    relaxed: Crystals,
    labels: Integers,
    source: Integers,
    prints: Sequence[NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Return relative distances of fingerprints from the crystals that they started from."""
    distances = np.zeros(len(relaxed))
    n_labels = np.array([len(prints[b]) for b in source])
    of_atom = n_labels[relaxed.crystal_index]
    for n in np.unique(n_labels):
        rows = np.flatnonzero(n_labels == n)
        found = fingerprints(relaxed.select(rows), labels[of_atom == n], int(n))
        for row, mine in zip(rows, found, strict=True):
            known = prints[source[row]]
            scale = np.sqrt(np.sum(mine**2) * np.sum(known**2))
            distances[row] = np.sqrt(np.sum((mine - known) ** 2) / scale)
    return distances
