"""How often what `predict` offers first for a formula is its stable crystal.

    python benchmarks/from_formula.py --data mp_20/test_dev.csv.gz --limit 440

Of the crystals of a file that lie on the convex hull (column e_above_hull) some are drawn at
random; their formulas alone are given to `predict`. Right is what pymatgen's StructureMatcher
matches at the tolerances of the literature; compositions of which the library knows other crystals
are counted on their own.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import Atoms
from tqdm import tqdm

from ase_continuousp import load_model, predict
from ase_continuousp.evaluation.match import STRICT_RMS, rms_distance
from ase_continuousp.io import from_atoms
from ase_continuousp.search.composition import choose_units, formula_unit
from ase_continuousp.search.evidence import SAME
from ase_continuousp.search.sources import PROTOTYPES, read_priors
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training.formula_ranking import crystals_with_energies, stable_crystals


def line(name: str, found: list[tuple[float | None, bool, float]]) -> str:
    """Return rate, strict rate and RMSE of first choices, and how often any candidate matches."""
    if not found:
        return f"{name:22s} 0 crystals"
    first = np.array([np.nan if rms is None else rms for rms, _, _ in found])
    hits = ~np.isnan(first)
    error = np.sqrt(max(hits.mean() * (1.0 - hits.mean()), 0.0) / len(hits))
    strict, rmse = np.mean(first < STRICT_RMS), first[hits].mean() if hits.any() else np.nan
    claimed = np.mean([probability for _, _, probability in found])
    return (
        f"{name:22s} {len(hits)} crystals: first {hits.mean():.3f} ± {error:.3f} / {strict:.3f}"
        f" / {rmse:.4f}, claimed {claimed:.3f}; any {np.mean([one for _, one, _ in found]):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=440)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load_model(options.model)
    library = PrototypeStart(model.path / PROTOTYPES, read_priors(model.path))
    crystals = stable_crystals(*crystals_with_energies(options.data))
    rows = np.random.default_rng(options.seed).permutation(len(crystals))[: options.limit]
    found: dict[bool, list[tuple[float | None, bool, float]]] = {False: [], True: []}
    for row in tqdm(rows):
        truth = crystals.select([row])
        unit, _ = formula_unit(truth.numbers)
        offered = predict(Atoms(unit), model=model, n_samples=options.samples)
        distances = [rms_distance(from_atoms(one.atoms), truth) for one in offered]
        near = [one.nearness for one in library.generate_any(unit, choose_units(unit), 12)]
        known = any(value is not None and value > SAME for value in near)
        best = any(rms is not None for rms in distances)
        found[known].append((distances[0], best, offered[0].probability or 0.0))
    print(line("all", found[False] + found[True]))
    print(line("unknown compositions", found[False]))
    print(line("compositions with known", found[True]))


if __name__ == "__main__":
    main()
