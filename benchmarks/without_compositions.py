"""Copy a CSV file of crystals without those whose composition occurs in other files.

    python benchmarks/without_compositions.py mp_other_le20/train.csv.gz \
        --other mp_20/val.csv.gz --out mp_other_le20/train_less_val.csv.gz

So a set can be chosen by without anything of its compositions having been trained on.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import sys
from collections.abc import Iterator

import numpy as np

from ase_continuousp.crystals import Crystals
from ase_continuousp.training.data import read_crystals

Composition = tuple[tuple[int, int], ...]


def compositions(crystals: Crystals) -> Iterator[Composition]:
    """Yield sorted (atomic number, count) without common factors."""
    for numbers in np.split(crystals.numbers, crystals.offsets[1:-1]):
        elements, counts = np.unique(numbers, return_counts=True)
        common = math.gcd(*counts.tolist())
        yield tuple(zip(elements.tolist(), (counts // common).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--other", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    unwanted = {c for path in arguments.other for c in compositions(read_crystals(path))}
    stays = [c not in unwanted for c in compositions(read_crystals(arguments.data))]
    csv.field_size_limit(sys.maxsize)
    with (
        gzip.open(arguments.data, "rt", newline="", encoding="utf-8") as source,
        gzip.open(arguments.out, "wt", newline="", encoding="utf-8") as target,
    ):
        rows = csv.reader(source)
        writer = csv.writer(target)
        writer.writerow(next(rows))
        writer.writerows(row for row, keep in zip(rows, stays, strict=True) if keep)
    print(f"{sum(stays)} of {len(stays)} crystals kept")


if __name__ == "__main__":
    main()
