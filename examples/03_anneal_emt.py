"""Anneal a copper cluster and a strained crystal with ASE's EMT potential.

`AnnealedLangevin` is an ASE optimizer: it takes any Atoms with any calculator. Temperatures are
k_B T in the unit of the calculator, here eV.
"""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_continuousp import AnnealedLangevin

# A cluster of 13 atoms thrown into a box: no cell, so only positions move.
rng = np.random.default_rng(0)
cluster = Atoms("Cu13", positions=rng.uniform(0.0, 7.0, size=(13, 3)))
cluster.calc = EMT()
start = cluster.get_potential_energy()
anneal = AnnealedLangevin(
    cluster, n_steps=600, temperature=(0.3, 1e-3), move_cell=False, seed=0, logfile=None
)
done = anneal.run(fmax=0.05)  # the schedule, then noiseless descent to small forces
print(f"Cu13     {start:8.3f} -> {anneal.best_energy:8.3f} eV, done: {done}")
print(f"         accepted {anneal.acceptance_rate:.0%} of the steps of the schedule")

# A crystal whose cell and positions are wrong: both move.
crystal = bulk("Cu", cubic=True)
crystal.set_cell(crystal.cell.array * [1.1, 1.0, 0.95], scale_atoms=True)
crystal.rattle(0.2, seed=1)
crystal.calc = EMT()
start = crystal.get_potential_energy()
anneal = AnnealedLangevin(crystal, n_steps=200, temperature=(0.05, 1e-3), seed=0, logfile=None)
anneal.run(fmax=0.01)
best = anneal.best_atoms
print(f"Cu (fcc) {start:8.3f} -> {best.get_potential_energy():8.3f} eV")
print(f"         volume per atom {best.get_volume() / len(best):.2f} Å³")
