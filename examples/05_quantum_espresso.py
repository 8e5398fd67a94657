"""From a formula to a crystal relaxed by DFT: MgO with Quantum ESPRESSO.

Needs pw.x and pseudopotentials, on Debian the packages quantum-espresso and quantum-espresso-data.
Their files for Mg and O are for the local density approximation, whose lattice constants are about
1 % too short. The cutoffs are low: a demonstration.
"""

import argparse
import os
from pathlib import Path

from ase.calculators.espresso import Espresso, EspressoProfile
from ase.io import read

from ase_continuousp import predict
from ase_continuousp.io.inputs import ESPRESSO_RELAXATION, k_points
from ase_continuousp.search.table import format_table

PSEUDOPOTENTIALS = {"Mg": "Mg.pz-n-vbc.UPF", "O": "O.pz-rrkjus.UPF"}
MEASURED = 4.212  # [Å] lattice constant of MgO


def main() -> None:
    """Predict, relax the best with pw.x and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("mgo"), help="folder for the results")
    parser.add_argument("--pseudo", type=Path, default=Path("/usr/share/espresso/pseudo"))
    parser.add_argument("--cutoff", type=float, default=40.0, help="of the wave functions, Ry")
    parser.add_argument("--spacing", type=float, default=0.5, help="of k-points, 1/Å")
    options = parser.parse_args()
    # Open MPI, which Debian's pw.x is linked to, wants to be told that root is no mistake.
    os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    found = predict("MgO", n_samples=5, start="prototype")
    print(format_table(found))
    atoms = found[0].atoms.copy()

    settings = {name: dict(values) for name, values in ESPRESSO_RELAXATION.items()}
    settings["system"] = {"ecutwfc": options.cutoff, "ecutrho": 8 * options.cutoff}
    atoms.calc = Espresso(
        profile=EspressoProfile(command="pw.x", pseudo_dir=options.pseudo),
        directory=options.out,
        pseudopotentials=PSEUDOPOTENTIALS,
        input_data=settings,
        kpts=k_points(atoms, options.spacing),
    )
    atoms.get_potential_energy()  # relaxes positions and cell
    relaxed = read(options.out / "espresso.pwo")
    relaxed.write(options.out / "relaxed.cif")
    for name, crystal in (("predicted", atoms), ("relaxed by DFT", relaxed)):
        print(f"{name}: a = {(4 * crystal.get_volume() / (len(crystal) / 2)) ** (1 / 3):.3f} Å")
    print(f"measured: a = {MEASURED} Å")
    print(f"energy: {relaxed.get_potential_energy():.3f} eV; written to {options.out}")


if __name__ == "__main__":
    main()
