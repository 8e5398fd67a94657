"""Is the head of an extended XYZ file true: asked before a reader believes what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterable

_COUNTS = re.compile(r":[RISL]:(\d+)")


def check_extxyz(lines: Iterable[str]) -> None:
    """Raise ValueError if a frame promises more atoms or columns than the file has.

    ASE's reader takes memory and time for what is promised: a line of a few bytes can ask for
    years.

    Examples
    --------
    >>> check_extxyz(["1", 'Properties=species:S:1:pos:R:3 pbc="F F F"', "Cu 0 0 0"])
    >>> check_extxyz(["1000000000000", "", "Cu 0 0 0"])
    Traceback (most recent call last):
    ...
    ValueError: a frame of 1000000000000 atoms has 1 line(s)
    """
    remaining = iter(lines)
    for head in remaining:
        if not head.strip():
            return  # as ASE does
        if head.startswith("VEC"):  # cell vectors after the atoms, an older dialect
            continue
        count = int(head) if re.fullmatch(r"\s*\d{1,18}\s*", head) else -1
        if count < 0:
            raise ValueError(f"a frame must begin with its number of atoms: {head.strip()[:40]!r}")
        comment = next(remaining, "")
        columns = sum(int(n[:18]) for n in _COUNTS.findall(comment))
        found = 0
        for line in remaining if count else ():
            found += 1
            if found == 1 and columns > max(4, len(line.split())):
                raise ValueError(f"a frame of {columns} columns has {len(line.split())}")
            if found == count:
                break
        if found < count:
            raise ValueError(f"a frame of {count} atoms has {found} line(s)")
