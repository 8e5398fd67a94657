"""A formula in, ranked crystals out: SrTiO3 with a shipped model.

Writes the best crystal as CIF, all of them as an ase.db, a picture of the best and the energy
along its anneal.
"""

import argparse
from pathlib import Path

from ase_continuousp import predict
from ase_continuousp.plot import plot_anneal, plot_crystal
from ase_continuousp.search.candidates import write_candidates
from ase_continuousp.search.table import format_table


def main() -> None:
    """Predict, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the results")
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--samples", type=int, default=20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    found = predict("SrTiO3", model=options.model, n_samples=options.samples, progress=True)
    print(format_table(found))

    best = found[0]
    write_candidates(options.out / "SrTiO3.cif", [best])
    write_candidates(options.out / "SrTiO3.db", found)
    title = f"{best.formula}  {best.spacegroup[0]}"
    plot_crystal(best.atoms, title=title).savefig(options.out / "SrTiO3.png")
    plot_anneal(found).savefig(options.out / "SrTiO3_anneal.png")
    print("written to", options.out)


if __name__ == "__main__":
    main()
