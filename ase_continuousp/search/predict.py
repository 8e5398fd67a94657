"""A formula in, ranked crystals out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from ase_continuousp.arguments import check_count, check_seed
from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel, load_model, torch_device
from ase_continuousp.search.bounds import Bounds
from ase_continuousp.search.candidates import Candidate, make_candidate
from ase_continuousp.search.composition import (
    check_elements,
    choose_units,
    formula_unit,
    parse_formula,
    unit_frequencies,
)
from ase_continuousp.search.dedupe import equivalence_classes
from ase_continuousp.search.jobs import refine_all
from ase_continuousp.search.list_ranking import ranking_for_formula
from ase_continuousp.search.plausible import LeastOdds, plausible
from ase_continuousp.search.rank import Ranked, Ranking
from ase_continuousp.search.refine import Refined, anneal_settings
from ase_continuousp.search.sources import Sources, read_priors, sources_of_model
from ase_continuousp.search.standard import standardized
from ase_continuousp.search.symmetry import SYMPREC
from ase_continuousp.search.symmetry import spacegroup as spacegroup_of
from ase_continuousp.search.window import check_window, in_window
from ase_continuousp.search.within import no_fit
from ase_continuousp.starts.priors import Priors

logger = logging.getLogger(__name__)

# Bounds on what counts as a crystal at all.
_VOLUME_FACTOR = 3.0  # volume per atom against the expected one, either way
_SHORTEST, _LONGEST = 1.5, 100.0  # cell vectors [Å]

# Of validation crystals, 1.3 % (MP-20), 1.8 % (MPTS-52) and none (Perov-5) lie beyond.
_OUTLIER = 4.0  # errors of the expected log volume

_KEPT_SYMPREC = 1e-3  # [Å] that of SymmetryProjection


def predict(
    formula: str | Atoms,
    *,
    model: str | os.PathLike[str] | TrainedModel = "mp20",
    n_samples: int = 20,
    formula_units: int | Iterable[int] | None = None,
    start: str = "mixed",
    spacegroup: int | str | None = None,
    bounds: Bounds | None = None,
    window: float | None = None,
    implausible: bool = False,
    relax: bool = True,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    executor: Any = None,
) -> list[Candidate]:
    """Return likely crystals of a formula, duplicates merged, best first.

    Parameters
    ----------
    formula : str or Atoms
        Only the ratio of its elements counts.
    model : str, path or TrainedModel
        Name of a shipped model, or the folder of any.
    n_samples : int
        Starts, so that there are at most as many candidates.
    formula_units : int or iterable of int, optional
        Formula units in the cell, counted in the smallest whole-number formula. If not given, all
        that make cells of at most 20 atoms: prototypes are taken from all of them together, the
        likeliest first, and the other starts from the sizes that are most frequent in the
        training data.
    start : {"mixed", "random", "symmetric", "prototype"}
        Where the search begins: random atoms in a likely cell; random crystals of a space group;
        known structure types with other elements; or all of these.
    spacegroup : int or str, optional
        Number from 1 to 230 or Hermann-Mauguin symbol. All starts have this space group and keep
        it exactly, cell and positions, so that candidates have it or a supergroup. Prototypes
        are those of this group; "random" and "symmetric" both mean random crystals of it, made
        by PyXtal; "mixed" are prototypes first, then these.
    bounds : Bounds, optional
        On lengths and angles of the reduced cell and on the volume
        (:class:`~ase_continuousp.search.bounds.Bounds`). Starts lie within them; what leaves them
        on its way is dropped.
    window : float, optional
        Drop generated crystals whose energy per atom, in units of U, lies further than this above
        the lowest of all (:mod:`ase_continuousp.search.window`).
    implausible : bool
        Whether to offer what the judge of the model thinks too unlikely as well
        (:mod:`ase_continuousp.search.plausible`).
    relax : bool
        Whether to quench with the energy of the model after the anneal. Without it prototypes do
        not make the last step that some models have learned for them either.
    seed : int
        The same seed gives the same crystals on the CPU, whatever the executor.
    device : str
        "auto", "cpu" or "cuda".
    progress : bool
        Show a progress bar.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Where to anneal; in this process if not given. For many formulas there is
        :func:`~ase_continuousp.search.many.predict_many`.

    Returns
    -------
    list of Candidate
        Empty only if no start ended in a crystal of reasonable size. Nearly symmetric crystals
        are offered in their primitive standard cell, with ``raw`` as they were found
        (:func:`~ase_continuousp.search.standard.standardized`).

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the formula cannot be read, the model does not know an element, a number is out of
        bounds, there is no such space group, or no start fits the formula.
    ImportError
        If starts are asked for that PyXtal makes, and it is not installed.

    Examples
    --------
    >>> found = predict("SrTiO3", model="perov5", n_samples=2, formula_units=1)
    >>> found[0].formula_units
    1
    """
    check_count("n_samples", n_samples)
    check_seed(seed)
    check_window(window)
    torch_device(device)
    unit, _ = formula_unit(parse_formula(formula))
    trained = model if isinstance(model, TrainedModel) else load_model(model)
    check_elements(unit, trained.elements, trained.name)
    priors = read_priors(trained.path)
    sources = sources_of_model(
        trained.path, start, spacegroup=spacegroup, bounds=bounds, priors=priors
    )
    units = choose_units(unit, formula_units)
    found = search(
        trained,
        sources,
        unit,
        units,
        priors,
        n_samples=n_samples,
        window=window,
        implausible=implausible,
        relax=relax,
        seed=seed,
        device=device,
        progress=progress,
        executor=executor,
        keeps_symmetry=spacegroup is not None,
    )
    if found is None:
        raise ValueError(
            f"start={start!r} offers nothing for {formula!r}"
            + ("" if bounds is None else " within the bounds")
            + ("" if spacegroup is None else no_fit(spacegroup))
        )
    return found


def search(
    trained: TrainedModel,
    sources: Sources,
    unit: ArrayLike,
    units: Sequence[int],
    priors: Priors,
    *,
    n_samples: int = 20,
    window: float | None = None,
    implausible: bool = False,
    relax: bool = True,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    executor: Any = None,
    keeps_symmetry: bool = False,
) -> list[Candidate] | None:
    """Return likely crystals from given sources, best first; None if they offer no start.

    Parameters
    ----------
    trained : TrainedModel
    sources : Sources
    unit : (n_atoms,) array of int
        Atomic numbers of one formula unit.
    units : sequence of int
        Formula units in the cell that are allowed.
    priors : Priors
    n_samples, window, implausible, relax, seed, device, progress, executor
        As of :func:`predict`.
    keeps_symmetry : bool
        Whether each crystal stays in the space group that it starts in.
    """
    frequencies = unit_frequencies(unit, units, priors.shapes)
    rng = np.random.default_rng([seed, len(np.asarray(unit))])
    starts = sources.search(unit, units, n_samples, rng, frequencies=frequencies)
    if not starts:
        return None
    ranking = ranking_for_formula(trained)
    refined = refine_all(
        trained,
        starts,
        anneal_settings(trained, relax=relax),
        seed=seed,
        device=device,
        with_basins=ranking.needs_basins,
        with_parents=ranking.needs_parents,
        keeps_symmetry=keeps_symmetry,
        executor=executor,
        progress=progress,
    )
    # One list of prototypes over all sizes: their probabilities need no weights of sizes.
    bounds = sources.bounds
    ranked = rank_refined(refined, priors, ranking, bounds, window)
    if not implausible:
        ranked = plausible(ranked, LeastOdds.of_model(trained.card))
    ranked = without_repeats(ranked)
    heads = [one.head for one in ranked]
    sizes = {z * len(np.asarray(unit)) for z in units}
    # What was kept is exact: a loose search might see another symmetry beside it.
    symprec = _KEPT_SYMPREC if keeps_symmetry else SYMPREC
    offered = standardized(heads, trained.energy(device=device), sizes, symprec)
    if bounds is not None:
        offered = [
            final if bounds.hold(final.crystals) else head
            for final, head in zip(offered, heads, strict=True)
        ]
    return [
        make_candidate(
            final,
            n_found=len(one.members),
            spacegroup=spacegroup_of(final.crystals),
            probability=one.probability,
            raw=None if final is one.head else one.head,
            volume_outlier=is_volume_outlier(final.crystals, priors),
        )
        for one, final in zip(ranked, offered, strict=True)
    ]


def rank_refined(
    refined: Sequence[Refined],
    priors: Priors,
    ranking: Ranking,
    bounds: Bounds | None = None,
    window: float | None = None,
) -> list[Ranked]:
    """Drop what is no crystal, merge duplicates and order the rest, best first.

    What counts is what the search found, before any last step: rankings were fitted to that.

    Parameters
    ----------
    refined : sequence of Refined
        All of one composition, in any number of formula units.
    priors : Priors
        For the expected volume.
    ranking : Ranking
    bounds : Bounds, optional
        Crystals outside are dropped as well.
    window : float, optional
        As of :func:`predict`.
    """
    kept = [one for one in refined if is_reasonable(one, priors)]
    if bounds is not None:
        kept = [one for one in kept if bounds.hold(one.crystals)]
    if len(kept) < len(refined):
        logger.info("%d of %d crystals were out of bounds", len(refined) - len(kept), len(refined))
    return ranking(equal_ones(in_window(kept, window)))


def equal_ones(refined: Sequence[Refined]) -> list[list[Refined]]:
    """Return the classes of equal crystals, by where the search found them.

    Examples
    --------
    >>> equal_ones([])
    []
    """
    energies = [one.found.energy_per_atom for one in refined]
    classes = equivalence_classes([one.found.crystals for one in refined], energies)
    return [[refined[i] for i in members] for members in classes]


def without_repeats(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Join crystals that have become equal by the last step to the first of them.

    Order and probabilities stay those of the places that the ranking was fitted to.

    Parameters
    ----------
    ranked : sequence of Ranked
        Best first.
    """
    if all(one.head.unpolished is None for one in ranked):
        return list(ranked)
    classes = equivalence_classes([one.head.crystals for one in ranked], range(len(ranked)))
    return [
        replace(ranked[same[0]], members=tuple(m for i in same for m in ranked[i].members))
        for same in classes
    ]


def is_reasonable(refined: Refined, priors: Priors) -> bool:
    """Return whether the values are finite and volume and cell lengths are within bounds."""
    if not refined.is_finite:
        return False
    crystal = refined.crystals
    expected = priors.log_volume_per_atom(crystal.numbers)
    gap = abs(np.log(crystal.volumes[0] / crystal.n_atoms) - expected)
    lengths = np.linalg.norm(crystal.cells[0], axis=1)
    fits = gap < np.log(_VOLUME_FACTOR) and lengths.min() > _SHORTEST and lengths.max() < _LONGEST
    return bool(fits)


def is_volume_outlier(crystal: Crystals, priors: Priors) -> bool:
    """Return whether log(V/N) is more than four times its expected error from the expected one."""
    gap = np.log(crystal.volumes[0] / crystal.n_atoms)
    gap -= priors.log_volume_per_atom(crystal.numbers)
    return bool(abs(gap) > _OUTLIER * priors.log_volume_spread(crystal.numbers))
