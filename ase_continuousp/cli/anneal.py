"""``anneal``: a structure in, the lowest structure of an annealed Langevin run out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="CIF, extxyz, traj or db file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.cif, .extxyz, .traj or .db")],
    model: Annotated[str, typer.Option(help="Shipped model or model folder.")] = "mp20",
    steps: Annotated[int, typer.Option(help="Steps of the schedule.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    preset: Annotated[
        str | None, typer.Option(help="paper: the sampler of arXiv 2502.02026.")
    ] = None,
    fix_cell: Annotated[bool, typer.Option("--fix-cell", help="Move atoms only.")] = False,
    fix_symmetry: Annotated[
        bool, typer.Option("--fix-symmetry", help="Keep the space group of the input.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    restart: Annotated[
        Path | None, typer.Option(help="State file; if it exists, the run goes on from it.")
    ] = None,
    trajectory: Annotated[Path | None, typer.Option(help="Trajectory of the run.")] = None,
) -> None:
    """Anneal the first structure of a file and write the lowest one found."""
    from ase.constraints import FixSymmetry
    from ase.optimize.optimize import RestartError
    from tqdm import tqdm

    from ase_continuousp import io
    from ase_continuousp.calculator import ContinuouSPCalculator
    from ase_continuousp.cli.output import check_file
    from ase_continuousp.sampling.optimizer import AnnealedLangevin

    io.check_writable(output, "--output")
    check_file("--restart", restart)
    check_file("--trajectory", trajectory)
    atoms = io.read_atoms(source)[0]
    atoms.calc = ContinuouSPCalculator(model, device=device)
    atoms.get_potential_energy()  # bad input is told before the progress bar begins
    given = list(atoms.constraints)
    if fix_symmetry:
        atoms.set_constraint([*given, FixSymmetry(atoms)])
    try:
        search = AnnealedLangevin(
            atoms,
            n_steps=steps,
            move_cell=not fix_cell,
            seed=seed,
            preset=preset,
            restart=restart,
            logfile=None,
            trajectory=trajectory,
            append_trajectory=restart is not None and restart.exists(),
        )
    except RestartError as error:
        raise ValueError(str(error)) from error
    with tqdm(total=steps, initial=search.nsteps, desc="annealing", unit="step") as bar:
        search.attach(lambda: bar.update(search.nsteps - bar.n))  # type: ignore[no-untyped-call]
        search.run()
    best = search.best_atoms
    best.set_constraint(given)
    io.write_atoms(output, [best])
    if search.stop_reason is not None:
        typer.echo(f"ase-continuousp: stopped early: {search.stop_reason}", err=True)
    typer.echo(
        f"lowest energy {search.best_energy:.4f}, accepted {search.acceptance_rate:.2f}: {output}"
    )
