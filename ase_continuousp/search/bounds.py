"""Bounds on cells: what a user knows of the crystal that is looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from ase.geometry import cell_to_cellpar

from ase_continuousp.crystals import Crystals
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.starts import StartCrystal

Range = tuple[float, float]

_STRAIGHT = 180.0  # [degrees]
_ROUNDS = 20  # of drawing starts until enough of them lie within the bounds
_ALL = 10_000  # more than are ever offered
_ROUNDING = 1e-6  # [Å, degrees] by which a cell may be beyond


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest values of the Niggli-reduced cell and of the volume.

    The reduced cell and the volume per atom belong to the crystal and not to the cell that
    happens to describe it; but a cell of several primitive ones is reduced as it is.

    Parameters
    ----------
    lengths : (float, float), optional [Å]
        Of all three vectors of the reduced cell.
    angles : (float, float), optional [degrees]
        Between them.
    volume_per_atom : (float, float), optional [Å³]

    Raises
    ------
    ValueError
        If a pair is none, not positive or not in ascending order, or an angle is 180 degrees or
        more.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import io
    >>> salt = io.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    >>> Bounds(lengths=(3, 5)).hold(salt), Bounds(volume_per_atom=(5, 10)).hold(salt)
    (True, False)
    """

    lengths: Range | None = None
    angles: Range | None = None
    volume_per_atom: Range | None = None

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        for name in ("lengths", "angles", "volume_per_atom"):
            given = getattr(self, name)
            if given is None:
                continue
            try:
                low, high = (float(value) for value in given)
            except (TypeError, ValueError):
                raise ValueError(f"{name} must be two numbers, low and high: {given!r}") from None
            if not (0.0 < low <= high and isfinite(high)):
                raise ValueError(f"{name} must be positive and in ascending order: {given!r}")
            if name == "angles" and high >= _STRAIGHT:
                raise ValueError(f"angles must be less than 180 degrees: {given!r}")
            object.__setattr__(self, name, (low, high))

    def hold(self, crystal: Crystals) -> bool:
        """Return whether a crystal, a batch of one, lies within the bounds."""
        if self.volume_per_atom is not None and not _within(
            self.volume_per_atom, crystal.volumes / crystal.n_atoms
        ):
            return False
        if self.lengths is None and self.angles is None:
            return True
        lengths, angles = np.split(cell_to_cellpar(reduce_crystals(crystal).cells[0]), 2)
        return (self.lengths is None or _within(self.lengths, lengths)) and (
            self.angles is None or _within(self.angles, angles)
        )

    def scaled(self, start: StartCrystal) -> StartCrystal:
        """Return a start with its volume moved to the nearest that is within the bounds."""
        if self.volume_per_atom is None:
            return start
        crystal = start.crystals
        volume = float(crystal.volumes[0]) / crystal.n_atoms
        factor = np.cbrt(np.clip(volume, *self.volume_per_atom) / volume)
        moved = Crystals(
            crystal.positions * factor, crystal.cells * factor, crystal.numbers, crystal.offsets
        )
        return replace(start, crystals=moved)


def drawn_within(
    bounds: Bounds | None, draw: Callable[[int], Sequence[StartCrystal]], n: int
) -> list[StartCrystal]:
    """Return up to n random starts within the bounds, drawn again and again if need be.

    Parameters
    ----------
    bounds : Bounds or None
        Of volumes that are out of bounds the nearest within is taken; other starts are dropped.
    draw : callable
        Returns up to as many starts as it is told, other ones each time.
    n : int
    """
    if bounds is None:
        return list(draw(n)[:n])
    kept: list[StartCrystal] = []
    for _ in range(_ROUNDS):
        made = [bounds.scaled(one) for one in draw(n)]
        kept += [one for one in made if bounds.hold(one.crystals)]
        if len(kept) >= n or not made:
            break
    return kept[:n]


def chosen_within(
    bounds: Bounds | None, offer: Callable[[int], Sequence[StartCrystal]], n: int
) -> list[StartCrystal]:
    """Return the first n of the offered starts that lie within the bounds.

    Parameters
    ----------
    bounds : Bounds or None
        The volume of prototypes is that expected of the composition, so that here too the nearest
        within is taken where it is out of bounds.
    offer : callable
        Returns the first so many of a list.
    n : int
    """
    if bounds is None:
        return list(offer(n))
    kept: list[StartCrystal] = []
    for offered in offer(_ALL):
        if len(kept) == n:
            break
        start = bounds.scaled(offered)
        if bounds.hold(start.crystals):
            kept.append(start)
    return kept


def _within(given: Range, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bool:
    low, high = given
    return bool(np.min(values) >= low - _ROUNDING and np.max(values) <= high + _ROUNDING)
