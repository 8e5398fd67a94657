"""From a formula to a crystal relaxed by DFT: MgO with GPAW, driven by ASE.

Needs GPAW and its datasets: pip install gpaw gpaw-data, with a compiler and the headers of an MPI
library (Debian: g++, libopenmpi-dev). The cutoff and the k-points are low: a demonstration.
"""

import argparse
from pathlib import Path

from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from gpaw import GPAW, PW

from ase_continuousp import predict
from ase_continuousp.io.inputs import k_points
from ase_continuousp.search.table import format_table

MEASURED = 4.212  # [Å] lattice constant of MgO


def main() -> None:
    """Predict, relax the best with GPAW and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("mgo"), help="folder for the results")
    parser.add_argument("--cutoff", type=float, default=400.0, help="of the wave functions, eV")
    parser.add_argument("--spacing", type=float, default=0.7, help="of k-points, 1/Å")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    found = predict("MgO", n_samples=5, start="prototype")
    print(format_table(found))
    atoms = found[0].atoms.copy()

    atoms.calc = GPAW(
        mode=PW(options.cutoff),
        xc="PBE",
        kpts=k_points(atoms, options.spacing),
        txt=str(options.out / "gpaw.txt"),
    )
    before = atoms.get_volume()
    BFGS(FrechetCellFilter(atoms), logfile=str(options.out / "bfgs.log")).run(fmax=0.05, steps=30)
    atoms.write(options.out / "relaxed.cif")
    for name, volume in (("predicted", before), ("relaxed by DFT", atoms.get_volume())):
        print(f"{name}: a = {(4 * volume / (len(atoms) / 2)) ** (1 / 3):.3f} Å")
    print(f"measured: a = {MEASURED} Å")
    print(f"energy: {atoms.get_potential_energy():.3f} eV; written to {options.out}")


if __name__ == "__main__":
    main()
