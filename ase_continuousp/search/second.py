"""A second opinion: the best candidates relaxed with another calculator, and ranked by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from io import StringIO
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from tqdm import tqdm

from ase_continuousp import io
from ase_continuousp.arguments import check_count
from ase_continuousp.search.candidates import Candidate, SecondOpinion, has_clash, info_of
from ase_continuousp.search.dedupe import equivalence_classes
from ase_continuousp.search.hull import KnownPhases
from ase_continuousp.search.relaxed import CannotCompute, relax_with
from ase_continuousp.search.symmetry import spacegroup


@dataclass(frozen=True)
class SecondCalculator:
    """Relaxes the best candidates with another calculator and orders them by its energy.

    Candidates that end in the same crystal are merged. Those that were not relaxed follow in the
    order that they had; their energy and that of the others are not to be compared.

    Parameters
    ----------
    name : str
        "chgnet", or the import path of a function or class that makes an ASE calculator, such as
        "ase.calculators.emt:EMT". A name and no object, so that workers can make their own.
    top : int
        How many candidates to relax, from the first on.
    fmax : float [eV/Å]
        Largest force at which a relaxation ends, that on the cell included.
    max_steps : int
        Of a relaxation.
    known : KnownPhases, optional
        Phases whose energies are from the same calculator, or from what it was made to
        reproduce. If given, energies above their hull are reported.

    Raises
    ------
    ValueError
        If a number is not positive or the name is neither.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp import Candidate
    >>> given = [bulk("Cu", kind, a=a) for kind, a in (("bcc", 2.9), ("fcc", 3.7))]
    >>> found = [Candidate(atoms, 0.0, ("", 0), 1, 1, True, False) for atoms in given]
    >>> first = SecondCalculator("ase.calculators.emt:EMT")(found)[0]
    >>> first.second.spacegroup[0], round(float(first.atoms.cell.lengths()[0]) * 2**0.5, 2)
    ('Fm-3m', 3.59)
    """

    name: str
    top: int = 5
    fmax: float = 0.05
    max_steps: int = 300
    known: KnownPhases | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be before any search."""
        check_count("top", self.top)
        check_count("max_steps", self.max_steps)
        if not self.fmax > 0.0:
            raise ValueError(f"fmax must be positive: {self.fmax}")
        if self.name != "chgnet" and not all(self.name.partition(":")):
            raise ValueError(
                "refine must be chgnet or an import path such as ase.calculators.emt:EMT: "
                f"{self.name!r}"
            )

    def __call__(
        self, candidates: Sequence[Candidate], *, progress: bool = False
    ) -> list[Candidate]:
        """Return the candidates in the new order.

        Raises
        ------
        ImportError
            If the calculator cannot be imported.
        ValueError
            If it gives no stress or does not know an element, or the known phases lack one.
        """
        calculator = calculator_of(self.name)
        if "stress" not in calculator.implemented_properties:
            raise ValueError(f"refine={self.name!r} gives no stress, which cells need")
        first = candidates[: self.top]
        bar = tqdm(first, desc=self.name, unit="crystal", disable=not progress)
        relaxed = {i: done for i, one in enumerate(bar) if (done := self._relaxed(one, calculator))}
        merged = self._merged(candidates, relaxed)
        others = [one for i, one in enumerate(candidates) if i not in relaxed]
        return [*merged, *others]

    def _relaxed(self, one: Candidate, calculator: Any) -> tuple[Atoms, bool] | None:
        """Return the relaxed crystal and whether it converged; None if it fell apart."""
        try:
            done = relax_with(one.atoms, calculator, fmax=self.fmax, max_steps=self.max_steps)
        except CannotCompute as error:
            raise ValueError(f"refine={self.name!r} refuses {one.formula}: {error}") from error
        if done is not None:
            cast(Any, done[0].calc).name = self.name.rpartition(":")[2].lower()
        return done

    def _merged(
        self, candidates: Sequence[Candidate], relaxed: dict[int, tuple[Atoms, bool]]
    ) -> list[Candidate]:
        if not relaxed:
            return []
        places = list(relaxed)
        crystals = [io.from_atoms(relaxed[i][0]) for i in places]
        energies = np.array([relaxed[i][0].get_potential_energy() for i in places])
        energies /= [len(relaxed[i][0]) for i in places]
        classes = equivalence_classes(crystals, energies)
        lowest = min(energies[members[0]] for members in classes)
        made = []
        for members in classes:
            head = members[0]
            atoms, converged = relaxed[places[head]]
            one = candidates[places[head]]
            opinion = SecondOpinion(
                name=self.name,
                energy_per_atom=float(energies[head]),
                above=float(energies[head] - lowest),
                converged=converged,
                spacegroup=spacegroup(crystals[head]),
                above_hull=None
                if self.known is None
                else self.known.above_hull(atoms.numbers, atoms.get_potential_energy()),
            )
            merged = replace(
                one,
                atoms=atoms,
                n_found=sum(candidates[places[m]].n_found for m in members),
                clash=has_clash(crystals[head]),
                second=opinion,
                raw=one.atoms if one.raw is None else one.raw,
            )
            merged.atoms.info = info_of(merged)
            made.append(merged)
        return sorted(made, key=lambda one: one.second.energy_per_atom if one.second else 0.0)


@lru_cache(maxsize=2)
def calculator_of(name: str) -> Any:
    """Return a calculator by name, the same one each time.

    Raises
    ------
    ImportError
        If there is no such module, or no such name in it.
    TypeError
        If what it makes is no ASE calculator.

    Examples
    --------
    >>> calculator_of("ase.calculators.lj:LennardJones").name
    'lennardjones'
    """
    made = _FACTORIES.get(name, lambda: _imported(name))()
    if not isinstance(made, BaseCalculator):
        raise TypeError(f"calculator {name!r} makes no ASE calculator but a {type(made).__name__}")
    return made


def _imported(name: str) -> Any:
    module, _, factory = name.partition(":")
    try:
        make = getattr(import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"calculator {name!r} cannot be imported: {error}") from error
    return make()


def _chgnet() -> Any:
    try:
        from chgnet.model import CHGNet
        from chgnet.model.dynamics import CHGNetCalculator
    except ImportError as error:
        raise ImportError(f"CHGNet is needed: pip install chgnet ({error})") from error
    device = "cpu"  # small crystals one by one: a GPU gains nothing
    with redirect_stdout(StringIO()):  # it greets even if told not to
        return CHGNetCalculator(CHGNet.load(use_device=device, verbose=False), use_device=device)


_FACTORIES: dict[str, Callable[[], Any]] = {"chgnet": _chgnet}
