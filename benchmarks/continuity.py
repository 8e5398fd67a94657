"""Largest energy step along straight paths of atoms and cell, for ever shorter steps.

The paths start at rattled crystals; one atom flies past another within 0.01 Å and out of the cell,
all others drift, and the cell deforms so far that pairs enter and leave the cutoff. A continuous
energy has steps that shrink in proportion to the step length.
"""

import argparse

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_continuousp import load_model
from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.neighborlist import search

CHUNK = 250


def starts() -> dict[str, Atoms]:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return {
        "SrTiO3": Atoms("SrTiO3", scaled_positions=sites, cell=[3.905] * 3, pbc=True),
        "NaCl": bulk("NaCl", "rocksalt", a=5.64),
        "ZnO": bulk("ZnO", "wurtzite", a=3.25, c=5.2),
    }


def path(crystal: Crystals, n: int, seed: int) -> list[Crystals]:
    rng = np.random.default_rng(seed)
    begin = crystal.positions + 0.1 * rng.normal(size=crystal.positions.shape)
    drift = rng.normal(size=begin.shape)
    aside = np.cross(begin[1] - begin[0], rng.normal(size=3))
    drift[0] = 0.0
    # At half way the second atom passes the first within 0.01 Å; at the end it has left the cell.
    drift[1] = 2.0 * (begin[0] - begin[1] + 0.008 * aside / np.linalg.norm(aside))
    strain = 0.2 * rng.normal(size=(3, 3))
    frames = []
    for t in np.linspace(0.0, 1.0, n + 1):
        stretch = np.eye(3) + t * strain
        positions = (begin + t * drift) @ stretch
        frames.append(Crystals.single(positions, crystal.cells[0] @ stretch, crystal.numbers))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 1000, 10000])
    options = parser.parse_args()
    energy = load_model(options.model).energy(device="cpu", dtype=options.dtype)
    print(f"model {options.model}, {options.dtype}")
    print("crystal  closest [Å]  pair counts" + "".join(f"{n:>12d} steps" for n in options.steps))
    for name, atoms in starts().items():
        cells, closest, counts = [], np.inf, set()
        for n in options.steps:
            frames = path(from_atoms(atoms), n, seed=0)
            energies = []
            for k in range(0, len(frames), CHUNK):
                batch = Crystals.concatenate(frames[k : k + CHUNK])
                pairs = search(batch, energy.network.cutoff_ratio * batch.lengths)
                counts.update(np.diff(pairs.first[batch.offsets]).tolist())
                near = np.linalg.norm(
                    batch.positions[0 :: len(atoms)] - batch.positions[1 :: len(atoms)], axis=1
                )
                closest = min(closest, near.min())
                energies.append(energy(batch).energy)
            cells.append(np.abs(np.diff(np.concatenate(energies))).max())
        row = "".join(f"{c:18.3e}" for c in cells)
        print(f"{name:8s} {closest:11.4f}  {min(counts):4d}–{max(counts):<6d}{row}")


if __name__ == "__main__":
    main()
