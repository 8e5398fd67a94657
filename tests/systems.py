"""Named awkward systems. `PERIODIC` are crystals; `OTHER` have open directions or no cell at all.

The tables hold masters: take a copy with `system(name)`, or copy what you change.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.geometry import cellpar_to_cell


def system(name: str) -> Atoms:
    """Return a fresh copy of a named system."""
    return (PERIODIC | OTHER)[name].copy()


def perovskite(a: str = "Sr", b: str = "Ti", x: str = "O", length: float = 3.905) -> Atoms:
    """Return the cubic perovskite ABX3."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms([a, b, x, x, x], scaled_positions=sites, cell=[length] * 3, pbc=True)


def rutile() -> Atoms:
    """Return rutile TiO2."""
    u = 0.305
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [u, u, 0], [-u, -u, 0]]
    sites += [[0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    return Atoms("Ti2O4", scaled_positions=sites, cell=[4.594, 4.594, 2.959], pbc=True)


def rattled(atoms: Atoms, amplitude: float = 0.2, seed: int = 0) -> Atoms:
    """Return the atoms displaced by normal noise [Å], so that no symmetry is left."""
    atoms = atoms.copy()
    noise = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.positions += amplitude * noise
    return atoms


def supercell(atoms: Atoms, transform: object) -> Atoms:
    """Return the crystal in the basis `transform @ cell`, of any integer determinant but zero.

    Written here on its own, by testing which lattice points fall into the new cell, so that it
    can serve as an oracle.
    """
    transform = np.asarray(transform)
    cell = transform @ atoms.cell.array
    reach = int(np.abs(transform).sum()) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1)
    grid = grid.reshape(-1, 3)
    inside = grid @ np.linalg.inv(transform)
    grid = grid[np.all((inside > -1e-9) & (inside < 1 - 1e-9), axis=1)]
    assert len(grid) == round(abs(np.linalg.det(transform)))
    positions = (atoms.positions[None] + (grid @ atoms.cell.array)[:, None]).reshape(-1, 3)
    return Atoms(np.tile(atoms.numbers, len(grid)), positions, cell=cell, pbc=True)


def _skewed() -> Atoms:
    """Return a cell with angles of 20°, 30° and 25° between its vectors."""
    cell = cellpar_to_cell([4.0, 5.0, 6.0, 20.0, 30.0, 25.0])
    sites = [[0.1, 0.2, 0.3], [0.6, 0.5, 0.9], [0.35, 0.8, 0.1]]
    return Atoms("NaClO", scaled_positions=sites, cell=cell, pbc=True)


def _left_handed() -> Atoms:
    atoms = rattled(perovskite(), 0.1)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]], scale_atoms=False)
    assert np.linalg.det(atoms.cell.array) < 0
    return atoms


def _outside() -> Atoms:
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.64), 0.1)
    atoms.positions += np.array([[3, -2, 5], [-7, 0, 1]]) @ atoms.cell.array
    return atoms


def _obscure_basis() -> Atoms:
    """Return rutile in a basis far from reduced."""
    return supercell(rutile(), [[1, 3, 0], [0, 1, -4], [0, 0, 1]])


def _slab() -> Atoms:
    cell = [[3.0, 0.0, 0.0], [1.0, 3.2, 0.0], [0.0, 0.0, 12.0]]
    positions = [[0, 0, 0], [1.5, 1.4, 1.8], [0.2, 0.1, -3.5]]
    return Atoms("MgOMg", positions, cell=cell, pbc=(True, True, False))


PERIODIC: dict[str, Atoms] = {
    "one_atom": Atoms("Po", cell=[3.35] * 3, pbc=True),
    "tiny_cell": Atoms("H", cell=[[0.9, 0, 0], [0.1, 0.8, 0], [0, 0.2, 0.7]], pbc=True),
    "huge_cell": Atoms("Xe", [[4.0, 5.0, 6.0]], cell=[40.0, 45.0, 50.0], pbc=True),
    "fcc": bulk("Cu", "fcc", a=3.61),
    "bcc": bulk("Fe", "bcc", a=2.87),
    "hcp": bulk("Mg", "hcp", a=3.21, c=5.21),
    "diamond": bulk("Si", "diamond", a=5.43),
    "rock_salt": bulk("NaCl", "rocksalt", a=5.64),
    "rock_salt_cubic": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    "cesium_chloride": bulk("CsCl", "cesiumchloride", a=4.12),
    "zinc_blende": bulk("ZnS", "zincblende", a=5.41),
    "wurtzite": bulk("ZnO", "wurtzite", a=3.25, c=5.2),
    "perovskite": perovskite(),
    "perovskite_rattled": rattled(perovskite()),
    "rutile": rutile(),
    "skewed": _skewed(),
    "flat": Atoms("CaF", [[0, 0, 0], [3.0, 4.0, 0.4]], cell=[9.0, 8.0, 0.9], pbc=True),
    "needle": Atoms("LiH", [[0, 0, 0], [0.5, 0.4, 9.0]], cell=[1.6, 1.5, 18.0], pbc=True),
    "left_handed": _left_handed(),
    "outside_cell": _outside(),
    "obscure_basis": _obscure_basis(),
    "coincident": Atoms("AlN", [[1, 1, 1], [1, 1, 1]], cell=[3.0, 3.1, 3.2], pbc=True),
    "coincident_image": Atoms("AlN", [[0, 0, 0], [3.0, 0, 3.2]], cell=[3.0, 3.1, 3.2], pbc=True),
    "negative_coordinates": Atoms("KBr", [[-1, -1, -1], [-4, -5, -6]], cell=[4.6] * 3, pbc=True),
    "heavy_and_light": Atoms("UH", [[0, 0, 0], [2, 2, 2]], cell=[4.1, 4.2, 4.3], pbc=True),
}

OTHER: dict[str, Atoms] = {
    "molecule": Atoms("CO", [[0, 0, 0], [0, 0, 1.13]]),
    "molecule_in_box": Atoms("CO", [[0, 0, 0], [0, 0, 1.13]], cell=[6.0, 7.0, 8.0]),
    "chain": Atoms(
        "CH", [[0, 0, 0], [1.1, 9.0, 0]], cell=[2.5, 5.0, 5.0], pbc=(True, False, False)
    ),
    "slab": _slab(),
    "slab_last_two": Atoms(
        "NaCl", [[0, 0, 0], [-20, 1.5, 1.6]], cell=[5.0, 3.0, 3.3], pbc=(False, True, True)
    ),
    "slab_without_height": Atoms(
        "C2", [[0, 0, 0], [1.4, 0, 0]], cell=[[2.4, 0, 0], [1.2, 2.1, 0], [0, 0, 0]], pbc=(1, 1, 0)
    ),
    "single_in_vacuum": Atoms("Ar"),
}
