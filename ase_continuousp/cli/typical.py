"""``typical``: training data in which typical crystals occur more often."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer


def run(
    data: Annotated[list[Path], typer.Option("--data", help="Training files; repeatable.")],
    out: Annotated[Path, typer.Option(help="New file of training data: extxyz.")],
    preference: Annotated[
        float, typer.Option(help="0 prefers none; 1 takes crystals in proportion to their like.")
    ] = 0.7,
    others: Annotated[
        int, typer.Option(help="Crystals of the same atoms to compare each with.")
    ] = 40,
    mean: Annotated[int, typer.Option(help="How often a crystal is written on average.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the choice of others.")] = 0,
) -> None:
    """Write crystals, those that many others of the same atoms are like more often."""
    from ase_continuousp.io import check_writable, to_atoms, write_atoms
    from ase_continuousp.training.good_rows import good_crystals
    from ase_continuousp.training.typical import repeats, typicality

    if out.suffix != ".extxyz":
        raise ValueError(f"--out must end in .extxyz: {out}")
    check_writable(out, "--out")
    repeats([], preference=preference, mean=mean)  # which raises before the long work
    workers = os.cpu_count() or 1
    crystals = good_crystals(data, processes=workers)
    with ProcessPoolExecutor(workers) as executor:
        typical = typicality(crystals, n_others=others, seed=seed, executor=executor, progress=True)
    times = repeats(typical, preference=preference, mean=mean)
    atoms = [
        one for one, n in zip(to_atoms(crystals), times.tolist(), strict=True) for _ in range(n)
    ]
    write_atoms(out, atoms)
    typer.echo(f"{len(atoms)} rows of {int((times > 0).sum())} of {len(crystals)} crystals: {out}")
