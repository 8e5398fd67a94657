"""Parts of CIFs, to be put together: a cubic cell, and the head of a loop of sites."""

from __future__ import annotations


def cubic(length: float) -> str:
    """Return the entries of a cubic cell."""
    lengths = "".join(f"_cell_length_{x} {length}\n" for x in "abc")
    return "\n" + lengths + "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))


SITES = """
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
"""
