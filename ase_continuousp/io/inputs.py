"""Input folders of DFT codes: crystals handed over to VASP and Quantum ESPRESSO."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from ase_continuousp.io.convert import from_atoms, to_structures
from ase_continuousp.io.replacing import replacing

#: A relaxation of positions and cell, for pseudopotentials that are not too hard.
ESPRESSO_RELAXATION: dict[str, dict[str, Any]] = {
    "control": {
        "calculation": "vc-relax",
        "tprnfor": True,
        "tstress": True,
        "forc_conv_thr": 1e-3,
        "pseudo_dir": "./",
    },
    "system": {"ecutwfc": 50.0, "ecutrho": 400.0, "occupations": "smearing", "degauss": 0.01},
    "electrons": {"conv_thr": 1e-9},
    "cell": {"press_conv_thr": 0.5},
}


def write_vasp_input(
    folder: str | os.PathLike[str], atoms: Atoms, *, input_set: str = "MPRelaxSet"
) -> None:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec for VASP.

    The settings are those of pymatgen's input sets, so that energies may be compared with those of
    the database whose set it is. POTCARs are licensed and not written: POTCAR.spec names them, and
    ``pmg potcar`` makes the POTCAR from it.

    Parameters
    ----------
    folder : str or path
        Made if there is none. Files of these names in it are replaced.
    atoms : Atoms
    input_set : str
        Name of a class of ``pymatgen.io.vasp.sets``, such as MPRelaxSet, MPStaticSet or
        MPScanRelaxSet.

    Raises
    ------
    ValueError
        If there is no such input set or it does not take the crystal.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import bulk
    >>> from ase_continuousp.io.inputs import write_vasp_input
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_vasp_input(folder, bulk("MgO", "rocksalt", a=4.2))
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['INCAR', 'KPOINTS', 'POSCAR', 'POTCAR.spec']
    """
    from pymatgen.io.vasp import sets

    made = getattr(sets, input_set, None)
    if not (isinstance(made, type) and issubclass(made, sets.VaspInputSet)):
        raise ValueError(f"input_set must be a class of pymatgen.io.vasp.sets: {input_set!r}")
    [structure] = to_structures(from_atoms(atoms))
    try:
        # The set sorts atoms by element, so that each has one block in POSCAR and POTCAR.
        made(structure, sort_structure=True).write_input(os.fspath(folder), potcar_spec=True)
    except (KeyError, TypeError) as error:
        raise ValueError(f"input_set={input_set!r} refuses {atoms.symbols}: {error}") from error


def write_espresso_input(
    folder: str | os.PathLike[str],
    atoms: Atoms,
    *,
    pseudopotentials: Mapping[str, str] | str | os.PathLike[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] = ESPRESSO_RELAXATION,
    spacing: float = 0.25,
) -> None:
    """Write espresso.pwi for pw.x of Quantum ESPRESSO, ready to run in its folder.

    Parameters
    ----------
    folder : str or path
        Made if there is none. A file of this name in it is replaced.
    atoms : Atoms
    pseudopotentials : mapping from symbol to file name, or folder, optional
        A folder must hold one file for each element whose name begins with its symbol and a dot,
        dash or underscore; pw.x is told to look there. If not given, the names are Symbol.UPF.
    settings : mapping of mappings
        Namelists of pw.x. The cutoffs [Ry] have to fit the pseudopotentials.
    spacing : float [1/Å]
        Between k-points at most, 2π included.

    Raises
    ------
    NotADirectoryError
        If there is no folder of pseudopotentials where one is said to be.
    ValueError
        If an element has no pseudopotential or a folder several, or the spacing is not positive.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import bulk
    >>> from ase_continuousp.io.inputs import write_espresso_input
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_espresso_input(folder, bulk("MgO", "rocksalt", a=4.2))
    ...     text = Path(folder, "espresso.pwi").read_text()
    >>> [line.split() for line in text.splitlines() if line.startswith("Mg ")][0]
    ['Mg', '24.305', 'Mg.UPF']
    """
    if not spacing > 0.0:
        raise ValueError(f"spacing must be positive: {spacing}")
    symbols = sorted(set(atoms.symbols))
    namelists = {name: dict(values) for name, values in settings.items()}
    if pseudopotentials is None:
        files = {symbol: f"{symbol}.UPF" for symbol in symbols}
    elif isinstance(pseudopotentials, Mapping):
        files = dict(pseudopotentials)
    else:
        files = find_pseudopotentials(pseudopotentials, symbols)
        where = os.path.abspath(pseudopotentials)
        namelists["control"] = {**namelists.get("control", {}), "pseudo_dir": where}
    missing = [symbol for symbol in symbols if symbol not in files]
    if missing:
        raise ValueError(f"pseudopotentials must name a file for {', '.join(missing)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "espresso.pwi") as draft:
        ase.io.write(
            draft,
            atoms,
            format="espresso-in",
            input_data=namelists,
            pseudopotentials=files,
            kpts=k_points(atoms, spacing),
        )


def find_pseudopotentials(folder: str | os.PathLike[str], symbols: list[str]) -> dict[str, str]:
    """Return the one file of a folder for each element.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    ValueError
        If there is none for an element, or more than one.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"pseudopotentials must be an existing folder: {folder}")
    names = sorted(path.name for path in Path(folder).iterdir() if path.is_file())
    files = {}
    for symbol in symbols:
        fitting = [
            name
            for name in names
            if name.lower().startswith(tuple(f"{symbol.lower()}{end}" for end in "._-"))
            and name.lower().endswith((".upf", ".upf2", ".psml"))
        ]
        if len(fitting) != 1:
            raise ValueError(
                f"pseudopotentials: {folder} holds {len(fitting)} files for {symbol}"
                + (f", {', '.join(fitting)}: name one" if fitting else "")
            )
        files[symbol] = fitting[0]
    return files


def k_points(atoms: Atoms, spacing: float) -> tuple[int, int, int]:
    """Return numbers of k-points along the reciprocal vectors, at most the spacing [1/Å] apart.

    Examples
    --------
    >>> k_points(Atoms(cell=[4.0, 4.0, 8.0], pbc=True), 0.4)
    (4, 4, 2)
    """
    lengths = 2.0 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    a, b, c = np.maximum(1, np.ceil(lengths / spacing - 1e-9)).astype(int).tolist()
    return a, b, c
