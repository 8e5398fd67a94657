"""Crystals from and to ASE Atoms, pymatgen Structure, CIF, extxyz, traj and ase.db.

The only package that knows file formats. Every format holds the same structures in the same order,
with the atoms of each in the order they were given.
"""

from ase_continuousp.io.cif import from_cif_text
from ase_continuousp.io.convert import from_atoms, from_structures, to_atoms, to_structures
from ase_continuousp.io.files import check_writable, read_atoms, write_atoms

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
