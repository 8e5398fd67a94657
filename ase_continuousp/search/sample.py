"""One crystal for each composition, in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from ase import Atoms

from ase_continuousp.arguments import check_count, check_seed
from ase_continuousp.model.checkpoint import TrainedModel, load_model, torch_device
from ase_continuousp.sampling.paper import PaperSampler, check_preset
from ase_continuousp.search.candidates import atoms_of
from ase_continuousp.search.composition import check_elements, parse_formula
from ase_continuousp.search.jobs import refine_all
from ase_continuousp.search.refine import Refined, anneal_settings
from ase_continuousp.search.sources import sources_of_model
from ase_continuousp.search.within import no_fit
from ase_continuousp.starts import StartCrystal


def sample(
    compositions: str | Atoms | Iterable[str | Atoms],
    *,
    model: str | os.PathLike[str] | TrainedModel = "mp20",
    start: str = "random",
    spacegroup: int | str | None = None,
    n_chains: int = 1,
    n_steps: int | None = None,
    preset: str | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    progress: bool = False,
) -> list[Atoms]:
    """Return one sampled crystal for each composition.

    Parameters
    ----------
    compositions : str, Atoms or iterable of these
        Formulas with all atoms of the cell, such as "Sr2Ti2O6", or Atoms whose numbers are used.
    model : str, path or TrainedModel
        Name of a shipped model, or the folder of any.
    start : {"random", "symmetric", "prototype", "mixed"}
        Where the chains begin.
    spacegroup : int or str, optional
        Number from 1 to 230 or Hermann-Mauguin symbol. All chains start in this space group and
        keep it exactly, cell and positions; a composition counts the atoms of a primitive cell.
        "random" and "symmetric" then both mean random crystals of the group, made by PyXtal,
        prototypes are those of this group, and "mixed" are prototypes first, then the others.
    n_chains : int
        Chains for each composition, of which the one lowest in energy is returned.
    n_steps : int, optional
        Noisy steps of a chain, without reheating; those of the model, or of the preset, if not
        given.
    preset : {"paper"}, optional
        Instead of short anneals with a quench the sampler of arXiv 2502.02026
        (:class:`~ase_continuousp.sampling.PaperSampler`): 1,000 Metropolis-adjusted steps in cell
        and positions, and no quench. It keeps no space group.
    seed : int
        The same seed gives the same crystals on the CPU.
    device : str
        "auto", "cpu" or "cuda".
    batch_size : int, optional
        Chains that run together; by default as many as make good use of a core.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Atoms
        In the order of the compositions, with energy, forces and stress attached and the kind of
        start in ``info["start"]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the starts cannot make a composition; the message names it.
    ImportError
        If starts are asked for that PyXtal makes, and it is not installed.
    RuntimeError
        If every chain of a composition left the finite numbers.

    Examples
    --------
    >>> [crystal] = sample("SrTiO3", model="perov5", n_steps=5)
    >>> str(crystal.symbols)
    'SrTiO3'
    """
    check_count("n_chains", n_chains)
    check_seed(seed)
    torch_device(device)
    check_preset(preset)
    if preset is not None and spacegroup is not None:
        raise ValueError(f"preset={preset!r} keeps no space group: spacegroup={spacegroup!r}")
    if preset is not None and n_steps is None:
        n_steps = PaperSampler().n_steps
    wanted = [compositions] if isinstance(compositions, str | Atoms) else list(compositions)
    parsed = [parse_formula(one) for one in wanted]
    trained = model if isinstance(model, TrainedModel) else load_model(model)
    for numbers in parsed:
        check_elements(numbers, trained.elements, trained.name)
    # The paper's sampler knows no quench, after which relatives would be crystals asked for.
    sources = sources_of_model(trained.path, start, spacegroup=spacegroup, varied=preset is None)
    starts: list[StartCrystal] = []
    owners: list[int] = []
    for index, numbers in enumerate(parsed):
        made = sources.generate(numbers, n_chains, np.random.default_rng([seed, index]))
        if not made:
            raise ValueError(
                f"start={start!r} offers nothing for {wanted[index]!r}"
                + ("" if spacegroup is None else no_fit(spacegroup))
            )
        starts += made
        owners += [index] * len(made)
    refined = refine_all(
        trained,
        starts,
        anneal_settings(trained, n_steps=n_steps),
        seed=seed,
        device=device,
        batch_size=batch_size,
        keeps_symmetry=spacegroup is not None,
        preset=preset,
        progress=progress,
    )
    best: dict[int, Refined] = {}
    for owner, one in zip(owners, refined, strict=True):
        if one.is_finite and (owner not in best or one.found.energy < best[owner].found.energy):
            best[owner] = one
    lost = [i for i in range(len(parsed)) if i not in best]
    if lost:
        raise RuntimeError(f"no chain of {wanted[lost[0]]!r} stayed within finite numbers")
    return [_described(best[i]) for i in range(len(parsed))]


def _described(refined: Refined) -> Atoms:
    atoms = atoms_of(refined)
    atoms.info |= {"start": refined.start.kind, "converged": refined.converged}
    return atoms
