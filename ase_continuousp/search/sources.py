"""Which starts a search takes, and how many of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ase_continuousp.model.checkpoint import read_card
from ase_continuousp.search.bounds import Bounds, chosen_within, drawn_within
from ase_continuousp.search.within import PrototypesWithin
from ase_continuousp.starts import Start, StartCrystal
from ase_continuousp.starts.groups import SeenGroups
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.starts.random import RandomStart
from ase_continuousp.starts.related import WithRelated
from ase_continuousp.starts.symmetric import SymmetricStart, spacegroup_number
from ase_continuousp.starts.unheated import WithUnheated

KINDS = ("random", "symmetric", "prototype", "mixed")
PRIORS = "priors.json"
PROTOTYPES = "prototypes.npz"

# Shares of a mixed search. Prototypes find most known chemistry; random starts fill up whatever
# the others cannot give.
_MIXED = {"prototype": 0.6, "symmetric": 0.05}
_MOST_SIZES = 4  # cell sizes among which other starts are shared out


@dataclass(frozen=True)
class Sources:
    """The kinds of starts that a search draws from.

    Parameters
    ----------
    kind : str
        One of "random", "symmetric", "prototype" and "mixed".
    starts : dict of str to Start
        The sources by kind.
    bounds : Bounds, optional
        On the starts of a search.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.starts.priors import Priors
    >>> cube = Crystals.single([[0, 0, 0]], 3.35 * np.eye(3), [84])
    >>> priors = Priors.fit(Crystals.concatenate([cube] * 8), n_steps=50)
    >>> sources = Sources("random", {"random": RandomStart(priors)})
    >>> [s.kind for s in sources.generate([84], 2, np.random.default_rng(0))]
    ['random', 'random']
    """

    kind: str
    starts: Mapping[str, Start]
    bounds: Bounds | None = None

    def generate(self, numbers: ArrayLike, n: int, rng: np.random.Generator) -> list[StartCrystal]:
        """Return up to n starts for atoms of these elements; of a mixed search, exactly n."""
        if self.kind != "mixed":
            return self.starts[self.kind].generate(numbers, n, rng)
        made: list[StartCrystal] = []
        for kind in _MIXED:
            if kind in self.starts:
                wanted = _share(kind, n, n - len(made))
                made += self.starts[kind].generate(numbers, wanted, rng)[:wanted]
        return made + self.starts["random"].generate(numbers, n - len(made), rng)

    def search(
        self,
        unit: ArrayLike,
        units: Sequence[int],
        n: int,
        rng: np.random.Generator,
        *,
        frequencies: Mapping[int, float] | None = None,
        unseen: bool = False,
    ) -> list[StartCrystal]:
        """Return up to n starts within the bounds for cells of any of these numbers of units.

        Prototypes are asked for all sizes at once. The other kinds share out their starts among
        the most frequent sizes.

        Parameters
        ----------
        unit : (n_atoms,) array of int
            Atomic numbers of one formula unit.
        units : sequence of int
            Formula units in the cell that are allowed.
        n : int
        rng : numpy.random.Generator
        frequencies : mapping from number of formula units to float, optional
            How often each occurs; all alike if not given.
        unseen : bool
            As if the library knew no crystal of this composition.
        """
        unit = np.asarray(unit, dtype=np.int64)
        kinds = [*_MIXED, "random"] if self.kind == "mixed" else [self.kind]
        made: list[StartCrystal] = []
        for kind in kinds:
            if kind not in self.starts:
                continue
            left = n - len(made)
            wanted = left if kind == kinds[-1] else _share(kind, n, left)
            start = self.starts[kind]
            if isinstance(start, PrototypeStart):
                offer = partial(start.generate_any, unit, units, unseen=unseen)
                made += chosen_within(self.bounds, offer, wanted)
                continue
            sizes = start.possible(unit, units) if isinstance(start, SymmetricStart) else units
            if not sizes:
                continue
            for z, count in shared_out(sizes, wanted, frequencies).items():
                draw = partial(start.generate, np.tile(unit, z), rng=rng)
                made += drawn_within(self.bounds, draw, count)
        return made


def _share(kind: str, n: int, left: int) -> int:
    """Return how many of the n starts of a mixed search are of a kind."""
    return min(left, max(1, round(_MIXED[kind] * n)))


def shared_out(
    units: Sequence[int], n: int, frequencies: Mapping[int, float] | None = None
) -> dict[int, int]:
    """Share out n starts among the most frequent numbers of formula units, at most four.

    Returns
    -------
    dict from number of formula units to number of starts, in ascending order

    Examples
    --------
    >>> shared_out([1, 2, 4], 4, {1: 0.7, 2: 0.1, 4: 0.2})
    {1: 2, 2: 1, 4: 1}
    >>> shared_out([1, 2, 4], 1, {1: 0.1, 2: 0.2, 4: 0.7})
    {4: 1}
    """
    weights = {z: 1.0 if frequencies is None else frequencies[z] for z in units}
    chosen = sorted(weights, key=lambda z: (-weights[z], z))[: min(n, _MOST_SIZES)]
    counts = dict.fromkeys(chosen, 1)
    for _ in range(n - len(chosen)):
        # Sainte-Laguë: to whom a further start is due by frequency.
        counts[max(chosen, key=lambda z: weights[z] / (2 * counts[z] + 1))] += 1
    return dict(sorted(counts.items()))


def sources_of_model(
    path: Path,
    kind: str,
    *,
    spacegroup: int | str | None = None,
    bounds: Bounds | None = None,
    priors: Priors | None = None,
    varied: bool = True,
) -> Sources:
    """Return the sources of starts that a model folder offers.

    Parameters
    ----------
    path : Path
        Holds priors.json and, for prototype starts, prototypes.npz.
    kind : str
        One of "random", "symmetric", "prototype" and "mixed". A mixed search takes prototypes if
        the model has a library, symmetric starts if PyXtal is installed, and random ones.
    spacegroup : int or str, optional
        Only starts within this space group: prototypes of it, and for both "random" and
        "symmetric" random crystals of it, which PyXtal makes.
    bounds : Bounds, optional
        Only starts within these, in searches from a formula.
    priors : Priors, optional
        If they have been read already.
    varied : bool
        Whether the starts of a random search have relatives and unheated ones among them
        (:mod:`ase_continuousp.starts.related`, :mod:`ase_continuousp.starts.unheated`) where the
        card of the model asks for them.

    Raises
    ------
    TypeError
        If the bounds are none.
    ValueError
        If the kind or the space group is unknown, or the model has no priors or no prototypes
        though they are needed.
    ImportError
        If PyXtal is needed and not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"start must be one of {', '.join(KINDS)}: {kind!r}")
    if bounds is not None and not isinstance(bounds, Bounds):
        raise TypeError(f"bounds must be Bounds or None: {bounds!r}")
    group = None if spacegroup is None else spacegroup_number(spacegroup)
    priors = read_priors(path) if priors is None else priors
    starts: dict[str, Start] = {}
    if group is None:
        # A mixed search has its variety from prototypes.
        alone = varied and kind == "random"
        starts["random"] = _random(path, priors) if alone else RandomStart(priors)
    elif kind != "prototype":
        starts["random"] = SymmetricStart(priors, spacegroup=group)
    library = path / PROTOTYPES
    if kind == "prototype" and not library.is_file():
        raise ValueError(f"start='prototype' needs a model with a prototype library: {path}")
    if kind in ("prototype", "mixed") and library.is_file():
        # Taken as built: see search.refine.
        starts["prototype"] = (
            PrototypeStart(library, priors, noise=0.0)
            if group is None
            else PrototypesWithin(library, priors, group)
        )
    if kind == "symmetric" or (kind == "mixed" and find_spec("pyxtal") is not None):
        seen = SeenGroups(PrototypeLibrary.load(library)) if library.is_file() else None
        starts["symmetric"] = SymmetricStart(priors, spacegroup=group, seen=seen)
    return Sources(kind, starts, bounds)


def _random(path: Path, priors: Priors) -> Start:
    """Return random starts, many of them as varied as the card of the model asks."""
    start: Start = RandomStart(priors)
    card = read_card(path)
    if share := card.get("related"):
        library = path / PROTOTYPES
        if not library.is_file():
            raise ValueError(
                f"model: its card asks for related starts, but {path} has no {PROTOTYPES}"
            )
        start = WithRelated(start, library, card["elements"], share)
    if share := card.get("unheated"):
        start = WithUnheated(start, share)
    return start


def read_priors(path: Path) -> Priors:
    """Return the priors of a model folder.

    Raises
    ------
    ValueError
        If the folder holds none.
    """
    try:
        return Priors.load(path / PRIORS)
    except FileNotFoundError:
        raise ValueError(f"model: {path} holds no {PRIORS}, so nothing can be started") from None
