"""Symmetric starts: random crystals of a space group, made by PyXtal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.groups import SeenGroups
from ase_continuousp.starts.priors import Priors

logger = logging.getLogger(__name__)

_TRIES = 30  # space groups tried for each crystal wanted
# Primitive cells in a conventional one, by the first letter of the symbol.
_CENTERINGS = {"P": 1, "A": 2, "C": 2, "I": 2, "R": 3, "F": 4}
_ROUNDS = 4  # PyXtal's own attempts at placing the atoms


@dataclass(frozen=True)
class SymmetricStart:
    """Random crystals that have the symmetry of a space group, volume from the priors.

    Needs PyXtal (the extra ``search``). Cost: most of a second a crystal, mostly PyXtal's.

    Parameters
    ----------
    priors : Priors
        Volume by composition.
    spacegroup : int or str, optional
        Number from 1 to 230 or Hermann-Mauguin symbol. If not given, each crystal draws one that
        the composition can take.
    noise : float
        Level at which the annealing begins.
    seen : SeenGroups, optional
        How often groups are drawn; all alike if not given.

    Raises
    ------
    ImportError
        If PyXtal is not installed.
    ValueError
        If there is no such space group.
    """

    priors: Priors
    spacegroup: int | str | None = None
    noise: float = 0.15
    seen: SeenGroups | None = None

    def __post_init__(self) -> None:
        """Look for PyXtal and the space group before any work is done."""
        if find_spec("pyxtal") is None:
            raise ImportError(
                "symmetric starts need PyXtal: install the extra with "
                "pip install 'ase-continuousp[search]'"
            )
        if self.spacegroup is not None:
            spacegroup_number(self.spacegroup)

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return up to n crystals; fewer where the composition does not fit the space group.

        The atoms are those of a primitive cell.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        fixed = None if self.spacegroup is None else spacegroup_number(self.spacegroup)
        if fixed is not None and not _is_possible(fixed, numbers):
            return []
        volume = len(numbers) * np.exp(self.priors.log_volume_per_atom(numbers))
        weights = None if self.seen is None or fixed is not None else self.seen.weights(numbers)
        made: list[StartCrystal] = []
        for _ in range(n * _TRIES):
            if len(made) == n:
                break
            if fixed is not None:
                group = fixed
            elif weights is not None:
                group = int(rng.choice(len(weights), p=weights))
            else:
                group = int(rng.integers(1, 231))
            if not _is_possible(group, numbers):
                continue
            crystal = _random_crystal(group, numbers, rng, n_cells=_n_cells(group))
            if crystal is None:
                continue
            scale = np.cbrt(volume / crystal.volumes[0])
            scaled = Crystals(
                crystal.positions * scale, crystal.cells * scale, crystal.numbers, crystal.offsets
            )
            made.append(StartCrystal(scaled, "symmetric", noise=self.noise, label=str(group)))
        if len(made) < n:
            logger.info("only %d of %d symmetric starts could be made", len(made), n)
        return made

    def possible(self, unit: ArrayLike, units: Sequence[int]) -> list[int]:
        """Return the numbers of formula units whose atoms fill orbits of the space group.

        Parameters
        ----------
        unit : (n_atoms,) array of int
            Atomic numbers of one formula unit.
        units : sequence of int
            In the primitive cell.
        """
        if self.spacegroup is None:
            return list(units)
        group, unit = spacegroup_number(self.spacegroup), np.asarray(unit, dtype=np.int64)
        return [z for z in units if _is_possible(group, np.tile(unit, z))]


def spacegroup_number(spacegroup: int | str) -> int:
    """Return the number of a space group given by number or Hermann-Mauguin symbol.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> spacegroup_number(225), spacegroup_number("Fm-3m"), spacegroup_number("225")
    (225, 225, 225)
    """
    text = str(spacegroup).strip()
    if text.isdigit():
        if not 1 <= int(text) <= 230:
            raise ValueError(f"spacegroup must be a number from 1 to 230: {spacegroup!r}")
        return int(text)
    from pymatgen.symmetry.groups import SpaceGroup

    try:
        return int(SpaceGroup(text).int_number)
    except ValueError:
        raise ValueError(
            f"spacegroup must be a number from 1 to 230 or a Hermann-Mauguin symbol: {spacegroup!r}"
        ) from None


def _n_cells(group: int) -> int:
    """Return how many primitive cells are in the conventional one."""
    from pyxtal.symmetry import Group

    return _CENTERINGS[Group(group).symbol[0]]


def _is_possible(group: int, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """Return whether the atoms of a primitive cell fill orbits of the group."""
    from pyxtal.symmetry import Group

    counts = np.unique(numbers, return_counts=True)[1]
    return bool(Group(group).check_compatible((counts * _n_cells(group)).tolist())[0])


def _random_crystal(
    group: int,
    numbers: np.ndarray[Any, np.dtype[np.int64]],
    rng: np.random.Generator,
    *,
    n_cells: int,
) -> Crystals | None:
    """Return a primitive random crystal of the group, atoms in the order of `numbers`, or None."""
    from pyxtal import pyxtal
    from pyxtal.msg import Comp_CompatibilityError, VolumeError

    elements, counts = np.unique(numbers, return_counts=True)
    made = pyxtal()
    seed = int(rng.integers(2**31))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.from_random(
                3,
                group,
                [chemical_symbols[z] for z in elements],
                (n_cells * counts).tolist(),
                max_count=_ROUNDS,
                random_state=np.random.default_rng(seed),
            )
            if not made.valid:
                return None
            primitive = made.to_pymatgen().get_primitive_structure(tolerance=0.01)
    except (Comp_CompatibilityError, VolumeError, RuntimeError, ValueError, IndexError):
        return None
    found = np.array(primitive.atomic_numbers, dtype=np.int64)
    if not np.array_equal(np.sort(found), np.sort(numbers)):
        return None  # a random crystal of higher translational symmetry than asked for
    order = np.empty(len(numbers), dtype=np.int64)
    order[np.argsort(numbers, kind="stable")] = np.argsort(found, kind="stable")
    return Crystals.single(primitive.cart_coords[order], primitive.lattice.matrix, found[order])
