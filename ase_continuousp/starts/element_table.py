"""Properties of the elements, for what is learned from small sets of facts."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ase_continuousp.starts.substitution import N_ELEMENTS

Floats = NDArray[np.float64]

PROPERTIES = (
    "group",
    "row",
    "electronegativity",
    "radius",
    "Mendeleev number",
    "f block",
    "transition metal",
    "highest oxidation state",
    "lowest oxidation state",
)
_N_KNOWN = 103


@lru_cache(maxsize=1)
def element_table() -> Floats:
    """Return the properties of each atomic number, (n_elements, n_properties).

    As pymatgen has them, in the order of `PROPERTIES`: electronegativities by Pauling (0 where
    there is none), atomic radii [Å], common oxidation states. Rows without an element are zero.

    Examples
    --------
    >>> table = element_table()
    >>> table[11, :3].tolist(), table.shape[1] == len(PROPERTIES)
    ([1.0, 3.0, 0.93], True)
    """
    from pymatgen.core import Element

    table = np.zeros((N_ELEMENTS, len(PROPERTIES)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of noble gases
        for z in range(1, _N_KNOWN + 1):
            e = Element.from_Z(z)
            states = e.common_oxidation_states or (0,)
            table[z] = [
                e.group,
                e.row,
                e.X if np.isfinite(e.X) else 0.0,
                float(e.atomic_radius or 1.5),
                e.mendeleev_no or 50,
                float(e.is_lanthanoid or e.is_actinoid),
                float(e.is_transition_metal),
                max(states),
                min(states),
            ]
    return table
