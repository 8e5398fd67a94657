"""Stability against known phases: the energy above their convex hull."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from ase.symbols import Symbols
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class KnownPhases:
    """Phases that a crystal may decompose into, with their energies.

    Parameters
    ----------
    phases : tuple of (str, float)
        Formula of each and energy of that many atoms [eV], all from one method.

    Examples
    --------
    >>> known = KnownPhases((("Na", -1.0), ("Cl", -2.0), ("NaCl", -7.0)))
    >>> known.above_hull([11, 17], -6.9), known.above_hull([11, 17], -7.2)
    (0.05, -0.1)
    """

    phases: tuple[tuple[str, float], ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> KnownPhases:
        """Return the phases of a JSON file with a list of pymatgen entries.

        ComputedEntry, ComputedStructureEntry and PDEntry all have a composition and an energy,
        the first two also a correction, which is added.

        Raises
        ------
        ValueError
            If the file cannot be read or holds no such list.
        """
        try:
            listed = json.loads(Path(path).read_text(encoding="utf-8"))
            phases = tuple(_phase(entry) for entry in listed)
        except OSError as error:
            raise ValueError(
                f"entries must be a file that can be read: {path} ({error.strerror})"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"entries must be a JSON list of pymatgen entries: {path}: "
                f"{type(error).__name__} {error}"
            ) from None
        if not phases:
            raise ValueError(f"entries must hold at least one entry: {path}")
        return cls(phases)

    def above_hull(self, numbers: ArrayLike, energy: float) -> float:
        """Return the energy per atom above the hull [eV], negative for what is below it.

        Parameters
        ----------
        numbers : (n_atoms,) array of int
        energy : float [eV]
            Of these atoms, by the method that the energies of the phases are from.

        Raises
        ------
        ValueError
            If a pure element is missing among the phases.
        """
        from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
        from pymatgen.core import Composition

        symbols = Symbols(numbers)
        own = set(symbols)
        entries = []
        for formula, value in self.phases:
            composition = Composition(formula)
            if {element.symbol for element in composition} <= own:
                entries.append(PDEntry(composition, value))
        pure = {one.composition.elements[0].symbol for one in entries if one.is_element}
        if own - pure:
            missing = ", ".join(sorted(own - pure, key=chemical_symbols.index))
            raise ValueError(f"entries must hold the pure elements: there is none of {missing}")
        diagram = PhaseDiagram(entries)
        one = PDEntry(Composition(symbols.get_chemical_formula()), energy)
        above = diagram.get_e_above_hull(one, allow_negative=True)
        return round(float(above), 9)  # type: ignore[arg-type]  # None only where asked for


def _phase(entry: Mapping[str, Any]) -> tuple[str, float]:
    counts = {str(symbol): float(count) for symbol, count in entry["composition"].items()}
    if not counts or not set(counts) <= set(chemical_symbols[1:]) or min(counts.values()) <= 0:
        raise ValueError(f"composition {entry['composition']!r}")
    energy = float(entry["energy"]) + float(entry.get("correction") or 0.0)
    if not isfinite(energy):
        raise ValueError(f"energy {entry['energy']!r}")
    return "".join(f"{symbol}{count:g}" for symbol, count in counts.items()), energy
