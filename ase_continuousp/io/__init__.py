"""Crystals from and to ASE Atoms, pymatgen Structure, CIF, extxyz, traj and ase.db.

The only package that knows file formats. Every format holds the same structures in the same order,
with the atoms of each in the order they were given. Names are loaded on first use: the readers and
writers of ASE import half of SciPy, which a calculator does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_continuousp.io.cif import from_cif_text
    from ase_continuousp.io.convert import from_atoms, from_structures, to_atoms, to_structures
    from ase_continuousp.io.files import check_writable, read_atoms, write_atoms

_HOMES = {
    "from_cif_text": "cif",
    "from_atoms": "convert",
    "from_structures": "convert",
    "to_atoms": "convert",
    "to_structures": "convert",
    "check_writable": "files",
    "read_atoms": "files",
    "write_atoms": "files",
}

__all__ = [
    "check_writable",
    "from_atoms",
    "from_cif_text",
    "from_structures",
    "read_atoms",
    "to_atoms",
    "to_structures",
    "write_atoms",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
