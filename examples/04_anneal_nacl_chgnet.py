"""Anneal sodium chloride from random positions with CHGNet, a universal potential.

Needs ``pip install chgnet``. Any ASE calculator with forces and stress serves as well. Temperatures
are k_B T in eV.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from chgnet.model.dynamics import CHGNetCalculator

from ase_continuousp import AnnealedLangevin


def random_nacl(seed: int, volume: float = 22.0) -> Atoms:
    """Four formula units at random in a cube, no two atoms nearer than 1.8 Å."""
    rng = np.random.default_rng(seed)
    length = (8 * volume) ** (1 / 3)
    while True:
        atoms = Atoms("Na4Cl4", scaled_positions=rng.random((8, 3)), cell=[length] * 3, pbc=True)
        distances = atoms.get_all_distances(mic=True)
        if distances[np.triu_indices(8, 1)].min() > 1.8:
            return atoms


def main(arguments: list[str] | None = None) -> AnnealedLangevin:
    """Anneal, relax and print the energies of both ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trajectory", type=Path, help="file of the frames")
    options = parser.parse_args(arguments)

    atoms = random_nacl(options.seed)
    atoms.calc = CHGNetCalculator(use_device="cpu", verbose=False)
    start = atoms.get_potential_energy() / len(atoms)
    anneal = AnnealedLangevin(
        atoms,
        n_steps=options.steps,
        temperature=(0.15, 5e-3),
        seed=options.seed,
        logfile=None,
        trajectory=options.trajectory,
    )
    anneal.run(fmax=0.1, steps=options.steps + 100)
    print(f"{start:.3f} -> {anneal.best_energy / len(atoms):.3f} eV per atom")
    print(f"accepted {anneal.acceptance_rate:.0%} of the steps, stopped: {anneal.stop_reason}")
    return anneal


if __name__ == "__main__":
    main()
