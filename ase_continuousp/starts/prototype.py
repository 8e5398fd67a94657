"""Starts from known prototypes: the elements of a composition on the sites of a library."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula
from ase.spacegroup import Spacegroup
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts import StartCrystal, stability
from ase_continuousp.starts.fingerprint import fingerprints, relabelings
from ase_continuousp.starts.leaving_out import Staying
from ase_continuousp.starts.library import PrototypeLibrary, anonymized, stoichiometry
from ase_continuousp.starts.origin import Decorated, Kin, Origin, count_known
from ase_continuousp.starts.repeating import repeated
from ase_continuousp.starts.substitution import diverse

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_N_COMPARED = 64  # candidates whose structures are compared with each other
_MOST_RELABELINGS = 720
_ALIKE = 0.02  # candidates whose fingerprints differ by less are one


class VolumeModel(Protocol):
    """What predicts the volume of a composition, see :mod:`ase_continuousp.starts.priors`."""

    def log_volume_per_atom(self, numbers: ArrayLike) -> float:
        """Return log(V/N), V/N in Å³."""
        ...


class PrototypeStart:
    """Crystals made by substitution into a library of prototypes, most likely right first.

    Every prototype of the same stoichiometry and every assignment of the elements to its labels
    is a candidate. It weighs as much as its members together, each by its chemical distance
    (:class:`Substitution`); a candidate is worth the weight of all candidates that it would match.
    Smaller prototypes are repeated to the number of atoms asked for. There is nothing random in
    it.

    Parameters
    ----------
    library : path or PrototypeLibrary
    priors : VolumeModel
        Gives the volume.
    leave_out : iterable of str
        Formulas whose crystals are taken out of the library, for instance to test it.
    noise : float
        Level from which the crystals are meant to be annealed.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.starts.building import build_library
    >>> from ase_continuousp.starts.priors import Priors
    >>> cell = 2.8 * (np.ones((3, 3)) - np.eye(3))
    >>> salts = [Crystals.single([[0, 0, 0], [2.8] * 3], cell, z) for z in ([11, 17], [20, 8])]
    >>> salts = Crystals.concatenate(salts * 4)
    >>> start = PrototypeStart(build_library(salts, n_fit=0), Priors.fit(salts, n_steps=50))
    >>> made = start.generate([12, 8], 5, np.random.default_rng(0))
    >>> [(s.label, s.crystals.numbers.tolist()) for s in made]
    [('AB Fm-3m 225', [12, 8])]
    """

    def __init__(
        self,
        library: str | os.PathLike[str] | PrototypeLibrary,
        priors: VolumeModel,
        *,
        leave_out: Iterable[str] = (),
        noise: float = 0.1,
    ) -> None:
        if not isinstance(library, PrototypeLibrary):
            library = PrototypeLibrary.load(library)
        self.library: PrototypeLibrary = library
        self.priors = priors
        self.noise = noise
        self.substitution = self.library.substitution
        self._left_out = {_reduced(formula) for formula in leave_out}

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return up to n different crystals of these atoms, in their order, best first.

        The distance of a start is -log of the estimated probability that it matches the right
        crystal where none of the starts before it does.

        Raises
        ------
        ValueError
            If a number is no atomic number or n is negative.
        """
        del rng
        return self._generate(numbers, [1], n, stable=False)

    def generate_like(
        self,
        numbers: ArrayLike,
        n: int,
        *,
        unseen: bool,
        n_compared: int = _N_COMPARED,
        staying: Staying | None = None,
    ) -> list[StartCrystal]:
        """Return what :meth:`generate` does, to learn from rather than to search with.

        Parameters
        ----------
        numbers : (n_atoms,) array of int
        n : int
        unseen : bool
            As if the library knew no crystal of this composition.
        n_compared : int
            Candidates that are compared with each other; fewer are faster.
        staying : mapping from prototype to (n_members,) array of bool, optional
            Which members of some prototypes count, see :mod:`ase_continuousp.starts.leaving_out`.
        """
        return self._generate(
            numbers,
            [1],
            n,
            stable=False,
            unseen=unseen,
            n_compared=n_compared,
            staying=staying,
        )

    def generate_any(
        self,
        unit: ArrayLike,
        multiples: Sequence[int],
        n: int,
        *,
        unseen: bool = False,
        staying: Staying | None = None,
    ) -> list[StartCrystal]:
        """Return up to n different crystals whose cells hold any of several numbers of units.

        All cell sizes are one question: a prototype has as many atoms as its primitive cell, and
        the probabilities of all starts together are at most 1. Only a prototype whose primitive
        cell is no multiple asked for is repeated to the smallest that is. As nothing but the
        formula is given, its stable crystal is meant: if the library knows the energies of its
        members, unstable ones count less (:mod:`ase_continuousp.starts.stability`).

        Parameters
        ----------
        unit : (n_atoms,) array of int
            Atomic numbers of one unit.
        multiples : sequence of int
            Units in the cell.
        n : int
        unseen, staying
            As of :meth:`generate_like`.

        Raises
        ------
        ValueError
            If a number is no atomic number, n is negative, or there is no positive multiple.
        """
        stable = self.library.energies is not None
        unseen = unseen or (stable and stability.lacks_stable_form(self.library, unit))
        return self._generate(unit, multiples, n, stable=stable, unseen=unseen, staying=staying)

    def _generate(
        self,
        unit: ArrayLike,
        multiples: Sequence[int],
        n: int,
        *,
        stable: bool,
        unseen: bool = False,
        n_compared: int = _N_COMPARED,
        staying: Staying | None = None,
    ) -> list[StartCrystal]:
        unit = np.asarray(unit, dtype=np.int64).reshape(-1)
        if len(unit) == 0 or unit.min() < 1 or unit.max() >= len(self.library.vectors):
            raise ValueError(f"numbers must be at least one atomic number: {unit.tolist()}")
        if n < 0:
            raise ValueError(f"n must not be negative: {n}")
        if len(multiples) == 0 or min(multiples) < 1:
            raise ValueError(f"multiples must be at least one positive number: {multiples}")
        candidates, probabilities = self._candidates(
            unit, multiples, stable, unseen, n_compared, staying or {}
        )
        if not candidates or n == 0:
            return []
        distances = self._distances(candidates)
        match = self.substitution.match(distances * (stability.STABLE_NEARER if stable else 1.0))
        chosen, worth = diverse(probabilities, match, len(candidates))
        likely = self.substitution.probabilities(worth)
        # Equal crystals differ in what they were derived from, and which of them is chosen is a
        # question of rounding: each stands for the nearest.
        nearness = np.array([one.nearness for one in candidates])
        nearness = np.where(distances < _ALIKE, nearness, -np.inf).max(axis=1)
        kept: list[int] = []
        made: list[StartCrystal] = []
        for place, probability in zip(chosen, likely.tolist(), strict=True):
            if len(made) == n:
                break
            if kept and distances[place, kept].min() < _ALIKE:
                continue
            kept.append(place)
            made.append(
                StartCrystal(
                    crystals=self._build(candidates[place], unit),
                    kind="prototype",
                    noise=self.noise,
                    distance=-math.log(probability),
                    nearness=float(nearness[place]),
                    label=self.describe(candidates[place].prototype),
                    origin=self._origin(candidates[place], unit),
                )
            )
        return made

    def describe(self, prototype: int) -> str:
        """Return anonymous formula, symbol and number of the space group of a prototype."""
        counts, _ = stoichiometry(self.library.counts(prototype))
        names = "".join(chr(65 + k) + (str(c) if c > 1 else "") for k, c in enumerate(counts))
        group = int(self.library.spacegroups[prototype])
        return f"{names} {Spacegroup(group).symbol.replace(' ', '')} {group}"

    def _candidates(
        self,
        unit: Integers,
        multiples: Sequence[int],
        stable: bool,
        unseen: bool,
        n_compared: int,
        staying: Staying,
    ) -> tuple[list[Decorated], Floats]:
        """Return the likeliest decorated prototypes and their probabilities."""
        elements, counts, _ = anonymized(unit)
        sizes = len(unit) * np.unique(multiples)
        key, _ = stoichiometry(counts)
        orders = np.array(relabelings(key)[:_MOST_RELABELINGS])
        fractions = np.array(key) / sum(key)
        targets = elements[orders]
        target = tuple(sorted(zip(elements.tolist(), key, strict=True)))
        parts, sides, energies, owner, fitting = [], [], [], [], {}
        known = [0, 0]
        for p in self.library.of_stoichiometry(key):
            possible = sizes[sizes % self.library.n_atoms[p] == 0]
            rows, side = self.library.members(p)
            energy = self.library.member_energies(p)
            stays = staying.get(p)
            if unseen or target in self._left_out:
                stays = ~np.all(np.sort(rows, axis=1) == np.sort(elements), axis=1)
            if stays is not None:
                rows, side, energy = rows[stays], side[stays], energy[stays]
            known[int(self.library.n_atoms[p] not in sizes)] += count_known(rows, side, targets)
            if len(possible) == 0:
                continue
            fitting[p] = int(possible[0]) // len(unit)
            if len(rows):
                energies.append(energy)
                parts.append(rows)
                sides.append(side)
                owner.append(np.full(len(rows), p))
        if not parts:
            return [], np.zeros(0)
        prototype = np.concatenate(owner)
        begin = np.flatnonzero(np.r_[True, prototype[1:] != prototype[:-1]])
        rows, side = np.concatenate(parts), np.concatenate(sides)
        same_cell = np.isin(self.library.n_atoms[prototype], sizes)
        log_none = self.substitution.log_none
        weights = self.substitution.log_weights(targets, rows, fractions, same_cell, side)
        # How near is said unscaled and against the same elements in the same cell.
        own = self.substitution.log_weights(targets[:1], targets[:1], fractions, True)
        chemical = (weights - own) / self.substitution.sharpness
        nearest = np.maximum.reduceat(chemical, begin, axis=1)
        if stable:
            weights = self.substitution.log_weights(targets, rows, fractions, same_cell) - own
            weights /= self.substitution.sharpness
            weights = stability.stable_log_weights(weights, np.concatenate(energies), side)
            log_none = stability.STABLE_LOG_NONE
        together = np.logaddexp.reduceat(weights, begin, axis=1)
        total = np.logaddexp(np.logaddexp.reduce(together, axis=None), log_none)
        best = np.argsort(-together, axis=None, kind="stable")[:n_compared]
        order, place = np.unravel_index(best, together.shape)
        end, energy = np.append(begin[1:], len(rows)), np.concatenate(energies)
        made = []
        for o, c in zip(order, place, strict=True):
            own_rows = slice(begin[c], end[c])
            kin = Kin(rows[own_rows], chemical[o, own_rows], energy[own_rows], side[own_rows])
            p = int(prototype[begin[c]])
            near = float(nearest[o, c])
            made.append(Decorated(p, targets[o], fitting[p], near, kin, (known[0], known[1])))
        return made, np.exp(together[order, place] - total)

    def _distances(self, candidates: list[Decorated]) -> Floats:
        """Return the relative distances between the fingerprints of the candidates."""
        used, inverse = np.unique([c.prototype for c in candidates], return_inverse=True)
        batch = self.library.crystals(used.tolist())
        n_labels = len(candidates[0].elements)
        prints = fingerprints(batch, batch.numbers, n_labels)
        rows = []
        for which, candidate in zip(inverse, candidates, strict=True):
            # Labels in the order of the elements, so that sites of one element are compared.
            order = np.argsort(candidate.elements)
            rows.append(prints[which][np.ix_(order, order)].ravel())
        flat = np.stack(rows)
        norms = np.sum(flat**2, axis=1)
        squares = norms[:, None] + norms - 2.0 * flat @ flat.T
        relative: Floats = np.sqrt(np.maximum(squares, 0.0) / np.sqrt(norms[:, None] * norms))
        return relative

    def _origin(self, candidate: Decorated, unit: Integers) -> Origin:
        p, kin = candidate.prototype, candidate.kin
        n_atoms = int(self.library.n_atoms[p])
        other = kin.nearest_other(candidate.elements)
        return kin.origin(
            candidate.elements,
            spacegroup=int(self.library.spacegroups[p]),
            repeats=candidate.multiple * len(unit) // n_atoms,
            known=candidate.known,
            parent=None if other is None else self._decorated(p, other, n_atoms),
        )

    def _build(self, candidate: Decorated, unit: Integers) -> Crystals:
        """Return the crystal with its atoms in the order of the units asked for."""
        numbers = np.tile(unit, candidate.multiple)
        made = self._decorated(candidate.prototype, candidate.elements, len(numbers))
        place = np.empty(len(numbers), dtype=np.int64)
        place[np.argsort(numbers, kind="stable")] = np.argsort(made.numbers, kind="stable")
        return Crystals.single(made.positions[place], made.cells[0], numbers)

    def _decorated(self, prototype: int, elements: Integers, n_atoms: int) -> Crystals:
        """Return a prototype with elements on its labels, repeated to a number of atoms."""
        cell, fractional, labels = self.library.structure(prototype)
        cell, fractional, labels = repeated(cell, fractional, labels, n_atoms)
        numbers = elements[labels]
        volume = n_atoms * math.exp(self.priors.log_volume_per_atom(numbers))
        cell = cell * np.cbrt(volume / abs(np.linalg.det(cell)))
        return Crystals.single(fractional @ cell, cell, numbers)


def _reduced(formula: str) -> tuple[tuple[int, int], ...]:
    """Return sorted (atomic number, count) of a formula without common factors."""
    counts = Formula(formula).count()
    common = math.gcd(*counts.values())
    return tuple(sorted((atomic_numbers[s], c // common) for s, c in counts.items()))
