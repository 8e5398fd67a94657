"""What a perfect sampler of the training data would be right for.

    python benchmarks/drawn_from_data.py --known train.csv.gz --data test.csv.gz -k 20 --limit 500

For each test crystal k known crystals of the same atoms are drawn at random, as if a model had
sampled the law of its data exactly. Match rates of one element, such as those of Carbon-24, are to
be read beside it: without preferring some crystals to others no sampler gets further.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from first_chains import rates
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.training.data import open_crystals


def key_of(crystal: Crystals) -> tuple[int, ...]:
    """Return what two crystals of the same atoms share."""
    return tuple(np.sort(crystal.numbers).tolist())


def draws(
    known: Crystals, some: Crystals, k: int, rng: np.random.Generator
) -> list[list[float | None]]:
    """Return the RMS distances of k drawn crystals, None where they do not match, of each."""
    alike: dict[tuple[int, ...], list[Crystals]] = defaultdict(list)
    for one in known:
        alike[key_of(one)].append(one)
    made = []
    for one in tqdm(some, total=len(some)):
        others = alike.get(key_of(one), [])
        picked = rng.integers(len(others), size=k) if others else []
        made.append([rms_distance(others[i], one) for i in picked] or [None] * k)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--known", required=True, help="training crystals")
    parser.add_argument("--data", required=True, help="test crystals")
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    known = open_crystals(arguments.known).all()
    some = open_crystals(arguments.data).all()
    rng = np.random.default_rng(arguments.seed)
    rows = np.sort(rng.permutation(len(some))[: arguments.limit])
    found = draws(known, some.select(rows), arguments.k, rng)
    print("one draw ", rates([rms for row in found for rms in row]))
    best = [min((rms for rms in row if rms is not None), default=None) for row in found]
    print(f"best of {arguments.k}", rates(best))


if __name__ == "__main__":
    main()
