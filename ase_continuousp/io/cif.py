"""Crystals from and to the text of a CIF."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.cif import CIFBlock, parse_cif, write_cif

from ase_continuousp.crystals import Crystals
from ase_continuousp.io.convert import (
    FULL_OCCUPANCY_TOLERANCE,
    from_atoms,
    from_structures,
    to_atoms,
)

logger = logging.getLogger(__name__)


def from_cif_text(text: str) -> Crystals:
    """Return the crystals of a CIF, one for each data block that has atoms.

    Blocks in P 1 keep their sites exactly, in order. Symmetry, if any, is expanded by pymatgen,
    which sorts the sites by electronegativity and returns the cell of the file.

    Raises
    ------
    ValueError
        If the text is not a CIF, holds no structure, or has partly occupied sites.

    Examples
    --------
    >>> from ase_continuousp.io import from_cif_text
    >>> crystals = from_cif_text('''data_Po
    ... _cell_length_a 3.35
    ... _cell_length_b 3.35
    ... _cell_length_c 3.35
    ... _cell_angle_alpha 90
    ... _cell_angle_beta 90
    ... _cell_angle_gamma 90
    ... loop_
    ...  _atom_site_type_symbol
    ...  _atom_site_fract_x
    ...  _atom_site_fract_y
    ...  _atom_site_fract_z
    ...  Po 0 0 0
    ... ''')
    >>> crystals.numbers.tolist(), crystals.lengths.round(2).tolist()
    ([84], [3.35])
    """
    return from_atoms(atoms_of_cif(text))


def atoms_of_cif(text: str) -> list[Atoms]:
    """Return the structures of a CIF as Atoms; everything else as `from_cif_text`."""
    try:
        blocks = [block for block in parse_cif(io.StringIO(text)) if block.has_structure()]
    except Exception as error:  # the parser asserts and pops from empty lists
        reason = str(error) if isinstance(error, ValueError) else ""
        raise ValueError(
            f"text must be a CIF: {reason or 'it does not follow the syntax of one'}"
        ) from error
    if not blocks:
        raise ValueError("text must be a CIF with at least one structure: found none")
    for block in blocks:
        _check_occupancies(block)
    if all(_is_p1(block) for block in blocks):
        images = [_listed(block) for block in blocks]
    else:
        images = to_atoms(_expand_symmetry(text, len(blocks)))
    for block, image in zip(blocks, images, strict=True):
        if block.get_cellpar() is None:
            raise ValueError(f"text must give the cell of every structure: {block.name} has none")
        image.pbc = True
    return images


def write_cif_file(path: Path, images: Sequence[Atoms]) -> None:
    """Write crystals as P 1 data blocks, all sites as given and in full precision."""
    with path.open("wb") as file:
        write_cif(file, [_right_handed(image) for image in images], wrap=False)


def cif_text(atoms: Atoms) -> str:
    """Return a crystal as the text of a CIF: P 1, all sites as given and in full precision.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_continuousp.io import from_cif_text
    >>> from_cif_text(cif_text(bulk("Cu"))).numbers.tolist()
    [29]
    """
    buffer = io.BytesIO()
    write_cif(buffer, [_right_handed(atoms)], wrap=False)
    return buffer.getvalue().decode("utf-8")


def _check_occupancies(block: CIFBlock) -> None:
    occupancies = block.get("_atom_site_occupancy")
    labels = block.get("_atom_site_label") or block.get("_atom_site_type_symbol")
    for label, occupancy in zip(labels, occupancies or [], strict=False):
        given = isinstance(occupancy, int | float)  # "?" and "." mean one
        if given and abs(occupancy - 1) > FULL_OCCUPANCY_TOLERANCE:
            raise ValueError(
                f"the CIF must be ordered (no partial occupancy): "
                f"site {label} of {block.name!r} has occupancy {occupancy}"
            )


def _listed(block: CIFBlock) -> Atoms:
    try:
        return block.get_unsymmetrized_structure()
    except Exception as error:  # angles that make no cell fail an assertion, and so on
        reason = str(error) or f"{type(error).__name__} in cell or sites"
        raise ValueError(f"text must be a CIF: {block.name}: {reason}") from error


def _is_p1(block: CIFBlock) -> bool:
    operations = block._get_sitesym()
    if operations:
        return len(operations) == 1
    number, name = block._get_spacegroup_number(), block._get_spacegroup_name()
    if number is not None:
        return int(number) == 1
    return name is None or str(name).replace(" ", "") == "P1"


def _expand_symmetry(text: str, n_expected: int) -> Crystals:
    from pymatgen.io.cif import CifParser  # loads much of pymatgen; few files need it

    # pymatgen warns about every rounded coordinate; the library is silent.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parser = CifParser.from_str(text)
            structures = parser.parse_structures(primitive=False)
        except Exception as error:  # of a damaged file: KeyError, ZeroDivisionError and others
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"text must be a CIF whose symmetry can be expanded: {reason}"
            ) from error
    for warning in caught:
        logger.info("CIF: %s", warning.message)
    if len(structures) != n_expected:
        raise ValueError(
            f"text must be a CIF whose structures can all be expanded: {len(structures)} of "
            f"{n_expected} could; {'; '.join(str(warning.message) for warning in caught)}"
        )
    return from_structures(structures)


def _right_handed(atoms: Atoms) -> Atoms:
    """Return the bare crystal in a right-handed basis.

    A CIF gives lengths and angles only, so a left-handed cell would be read as its mirror image.
    Vectors of opposite sign span the same lattice.
    """
    crystals = from_atoms(atoms)
    [bare] = to_atoms(crystals)
    if np.linalg.det(bare.cell.array) < 0:
        bare.set_cell(-bare.cell.array, scale_atoms=False)
    return bare
