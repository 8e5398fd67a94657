"""What searches assume of crystals, against known ones that no model has seen.

    python benchmarks/known_crystals.py --model mp20 --data mp_20/val.csv.gz --limit 1000

Prints how many are flagged as volume outliers, and how likely symmetric starts draw the space group
that the crystal has.
"""

from __future__ import annotations

import argparse

import numpy as np

from ase_continuousp import load_model
from ase_continuousp.search.predict import is_volume_outlier
from ase_continuousp.search.symmetry import spacegroup
from ase_continuousp.starts.groups import SeenGroups
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.priors import Priors
from ase_continuousp.training.data import read_crystals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    folder = load_model(options.model).path
    priors = Priors.load(folder / "priors.json")
    seen = SeenGroups(PrototypeLibrary.load(folder / "prototypes.npz"))
    crystals = read_crystals(options.data)
    rows = np.random.default_rng(0).permutation(crystals.n_crystals)[: options.limit]
    known = [crystals.select([int(row)]) for row in rows]
    outliers = np.mean([is_volume_outlier(one, priors) for one in known])
    weights = [seen.weights(one.numbers)[spacegroup(one)[1]] for one in known]
    print(f"{len(known)} crystals, volume outliers {outliers:.4f}")
    print(f"probability of the true space group: mean {np.mean(weights):.3f}, of 1/230 otherwise")


if __name__ == "__main__":
    main()
