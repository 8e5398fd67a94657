"""Candidates in the primitive standard cell of the symmetry that they almost have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction
from ase_continuousp.search.refine import Refined
from ase_continuousp.search.symmetry import SYMPREC, symmetrized

# Energy per atom that symmetry may cost: rounding. More was no better on validation crystals.
LARGEST_RISE = 1e-5


def standardized(
    refined: Sequence[Refined],
    energy: EnergyFunction,
    sizes: Collection[int],
    symprec: float = SYMPREC,
) -> list[Refined]:
    """Return crystals with their symmetry made exact where that costs nothing.

    A crystal is replaced by its primitive standard cell
    (:func:`ase_continuousp.search.symmetry.symmetrized`: no atom moves by more than 0.1 Å, the
    cell is strained by at most 2 %) unless its energy per atom rises by more than 1e-5. All others
    are returned as they are.

    Parameters
    ----------
    refined : sequence of Refined
    energy : EnergyFunction
        That of the model.
    sizes : collection of int
        Numbers of atoms that the cell may have.
    symprec : float [Å]
        Tolerance of the symmetry search.

    Returns
    -------
    list of Refined, in the same order
    """
    made = list(refined)
    symmetric = {i: symmetrized(one.crystals, symprec) for i, one in enumerate(made)}
    tried = {
        i: crystal
        for i, crystal in symmetric.items()
        if crystal is not None and crystal.n_atoms in sizes
    }
    if not tried:
        return made
    batch = Crystals.concatenate(list(tried.values()))
    found = energy(batch)
    for b, (i, crystal) in enumerate(tried.items()):
        rise = float(found.energy[b]) / crystal.n_atoms - made[i].energy_per_atom
        if rise <= LARGEST_RISE:
            made[i] = replace(
                made[i],
                crystals=crystal,
                energy=float(found.energy[b]),
                forces=found.forces[batch.offsets[b] : batch.offsets[b + 1]],
                stress=found.stress[b],
                basin_energy=_of_size(made[i], crystal.n_atoms),
            )
    return made


def _of_size(refined: Refined, n_atoms: int) -> float | None:
    """Return the energy of the basin for a cell of another size."""
    if refined.basin_energy is None:
        return None
    return refined.basin_energy_per_atom * n_atoms
