"""``inputs``: crystals of a file as input folders of a DFT code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    source: Annotated[Path, typer.Argument(help="Structure file, for example found.db.")],
    code: Annotated[str, typer.Option(help="vasp or espresso.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder in which each crystal gets one.")
    ],
    top: Annotated[int, typer.Option(help="How many, from the first on.")] = 1,
    pseudopotentials: Annotated[
        Path | None, typer.Option(help="Folder with one UPF file for each element.")
    ] = None,
    input_set: Annotated[str, typer.Option(help="Class of pymatgen.io.vasp.sets.")] = "MPRelaxSet",
) -> None:
    """Write input folders for VASP (INCAR, KPOINTS, POSCAR, POTCAR.spec) or Quantum ESPRESSO."""
    from ase_continuousp import io
    from ase_continuousp.arguments import check_count
    from ase_continuousp.io.inputs import write_espresso_input, write_vasp_input

    check_count("--top", top)
    if code not in ("vasp", "espresso"):
        raise ValueError(f"--code must be vasp or espresso: {code!r}")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output must lie in an existing folder: {output}")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"--output must be a folder: {output}")
    images = io.read_atoms(source, f":{top}")
    for number, atoms in enumerate(images, start=1):
        folder = output / f"{number:02d}-{atoms.get_chemical_formula('metal')}"
        if code == "vasp":
            write_vasp_input(folder, atoms, input_set=input_set)
        else:
            write_espresso_input(folder, atoms, pseudopotentials=pseudopotentials)
        typer.echo(str(folder))
