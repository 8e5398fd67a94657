"""The energy as the paper counts it: once per crystal, whatever its number of atoms."""

from __future__ import annotations

from dataclasses import dataclass

from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import EnergyFunction, Evaluation


@dataclass(frozen=True)
class MeanEnergy:
    """U/N, its forces and its stress.

    Parameters
    ----------
    energy : EnergyFunction
        Extensive.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.energy_function import Evaluation
    >>> def two_each(c):
    ...     n, b = c.n_atoms, c.n_crystals
    ...     return Evaluation(2.0 * c.counts, np.full(n, 2.0), np.ones((n, 3)), np.ones((b, 3, 3)))
    >>> pair = Crystals.single([[0, 0, 0], [1, 0, 0]], 3 * np.eye(3), [84, 84])
    >>> found = MeanEnergy(two_each)(pair)
    >>> found.energy.tolist(), found.forces[0].tolist()
    ([2.0], [0.5, 0.5, 0.5])
    """

    energy: EnergyFunction

    def __call__(self, crystals: Crystals) -> Evaluation:
        """Return energies, forces and stress of every crystal, divided by its atoms."""
        found, counts = self.energy(crystals), crystals.counts
        atoms = counts[crystals.crystal_index]
        return Evaluation(
            energy=found.energy / counts,
            energies=found.energies / atoms,
            forces=found.forces / atoms[:, None],
            stress=found.stress / counts[:, None, None],
        )
