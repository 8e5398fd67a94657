"""Can such a crystal be at all: charges that balance, atoms that do not coincide."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from ase.formula import Formula
from ase.symbols import Symbols
from numpy.typing import ArrayLike

from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import search

SHORTEST = 0.5  # Å
SMALLEST_VOLUME = 0.1  # Å³


def charge_rules() -> str:
    """Return which library judges charges here: "smact", else "pymatgen".

    Examples
    --------
    >>> charge_rules() in ("smact", "pymatgen")
    True
    """
    return "smact" if find_spec("smact") is not None else "pymatgen"


def is_charge_balanced(numbers: ArrayLike, *, rules: str | None = None) -> bool:
    """Tell whether the charges of a composition can balance.

    One element alone and metals alone pass. Otherwise oxidation states that add up to zero are
    looked for: with "smact" those of the SMACT library of 2014 with its electronegativity test, as
    CDVAE has it (Xie et al. 2022, arXiv:2110.06197; Davies et al. 2019, doi:10.21105/joss.01361);
    with "pymatgen" all that pymatgen lists, without that test, so that somewhat more pass.

    Parameters
    ----------
    numbers : (n_atoms,) array of int
    rules : {"smact", "pymatgen"}, optional
        What is installed if not given.

    Examples
    --------
    >>> [is_charge_balanced(z, rules="pymatgen") for z in ([11, 17], [11, 17, 17], [29, 30])]
    [True, False, True]
    """
    formula = Symbols(np.asarray(numbers, dtype=np.int64)).get_chemical_formula()
    reduced = str(Formula(formula).reduce()[0])
    return _balances(reduced, charge_rules() if rules is None else rules)


def has_room(crystal: Crystals) -> bool:
    """Tell whether no two atoms are closer than 0.5 Å and the cell has at least 0.1 Å³.

    An atom and its own image count as two, which CDVAE leaves out.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_atoms
    >>> has_room(from_atoms(bulk("Cu")))
    True
    """
    if crystal.volumes[0] < SMALLEST_VOLUME:
        return False
    return len(search(crystal, SHORTEST).i) == 0


@lru_cache(maxsize=100_000)
def _balances(formula: str, rules: str) -> bool:
    if rules == "smact":
        from smact.screening import smact_validity

        return bool(smact_validity(formula, oxidation_states_set="smact14"))
    if rules != "pymatgen":
        raise ValueError(f"rules must be 'smact' or 'pymatgen': {rules!r}")
    from pymatgen.core import Composition

    composition = Composition(formula)
    if len(composition) == 1 or all(element.is_metal for element in composition):
        return True
    return bool(composition.oxi_state_guesses(max_sites=-1))
