"""How far the minima of an energy lie from known crystals.

    python benchmarks/minima.py --model perov5 --data perov_5/test_dev.csv.gz --limit 400

Quenches every crystal, positions and cell, in the learned energy from where it is, and compares the
end with the beginning as the literature compares found and true crystals: the RMS distance is what
the best of ever so many chains cannot beat.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from ase_continuousp import load_model
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.sampling.annealing import anneal
from ase_continuousp.search.jobs import batches_of
from ase_continuousp.search.refine import anneal_settings
from ase_continuousp.training.data import read_crystals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    model = load_model(options.model)
    energy = model.energy()
    settings = replace(anneal_settings(model), n_steps=0)
    rng = np.random.default_rng(0)
    crystals = read_crystals(options.data, progress=True)
    crystals = crystals.select(np.sort(rng.permutation(crystals.n_crystals)[: options.limit]))
    away: list[float | None] = []
    for batch in tqdm(batches_of(crystals.counts.tolist()), desc="quenching", unit="batch"):
        known = crystals.select(batch)
        ends = anneal(energy, known, settings, rng, noise=0.0).crystals
        away += [rms_distance(one, truth) for one, truth in zip(ends, known, strict=True)]
    rms = np.array([value for value in away if value is not None])
    print(
        f"{len(away)} crystals, still matched {len(rms) / len(away):.3f}, "
        f"RMS mean {rms.mean():.4f}, median {np.median(rms):.4f}, "
        f"below 0.05 {(rms < 0.05).sum() / len(away):.3f}"
    )


if __name__ == "__main__":
    main()
