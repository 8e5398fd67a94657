"""Where a search begins: crystals to anneal from, one class for each kind of start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.origin import Origin


@dataclass(frozen=True)
class StartCrystal:
    """A crystal to begin a search from, and how far it is to be trusted.

    Parameters
    ----------
    crystals : Crystals
        A batch of one.
    kind : str
        The kind of start that made it: "random", "related", "symmetric" or "prototype".
    noise : float
        Level in [0, 1] at which the annealing begins: 1 forgets the crystal, 0 only quenches it.
    distance : float or None
        -log of the probability that it is the first right one of its kind, where that is known.
    nearness : float or None
        Chemical log weight of the nearest crystal it was made from, 0 for the same elements.
    label : str
        What it was made from, for people: a space group, the name of a prototype.
    origin : Origin or None
        What it was made from, for rankings.
    instead : (n_atoms,) array of int or None
        Atomic numbers that it is annealed with. Its own take their places before the last quench.
    is_reheated : bool
        Whether it is heated again after its quench where the settings of the anneal say so.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> cube = Crystals.single([[0, 0, 0]], 3.35 * np.eye(3), [84])
    >>> StartCrystal(cube, kind="prototype", noise=0.1, label="simple cubic").noise
    0.1
    """

    crystals: Crystals
    kind: str
    noise: float = 1.0
    distance: float | None = None
    nearness: float | None = None
    label: str = ""
    instead: NDArray[np.int64] | None = None
    is_reheated: bool = True
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Refuse what is not one crystal, not a level, or numbers of other atoms."""
        if self.crystals.n_crystals != 1:
            raise ValueError(f"crystals must hold one crystal: {self.crystals.n_crystals}")
        if not 0.0 <= self.noise <= 1.0:
            raise ValueError(f"noise must lie in [0, 1]: {self.noise}")
        if self.instead is not None and self.instead.shape != self.crystals.numbers.shape:
            raise ValueError(
                f"instead must hold a number for each of {self.crystals.n_atoms} atoms: "
                f"{self.instead.shape}"
            )


class Start(Protocol):
    """A source of crystals to begin a search from."""

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return up to n crystals of atoms with these numbers, the most promising first."""
        ...
