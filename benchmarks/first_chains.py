"""What fewer chains would have found, from one evaluation of many.

    ase-continuousp evaluate --model mp20 --data test.csv.gz -k 20 --start random --json r.json
    python benchmarks/first_chains.py r.json --chains 1 8 --model mp20

The samples of an evaluation are independent, so the lowest in energy of the first n of each test
crystal is what n chains would have given. Where many chains have relatives among them, n have as
large a share of them, and they are the first of these. With a model whose card has constants for
searches without prototypes, the one that it ranks first is told too. Of a model that does not heat
many chains again, such as carbon24, only one chain can be asked for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ase_continuousp import load_model
from ase_continuousp.search.evidence import Evidence

STRICT_RMS = 0.2


def chains(row: dict[str, Any], n: int, k: int) -> list[dict[str, Any]]:
    """Return the samples that n chains instead of k would have given.

    Examples
    --------
    >>> kinds = ["random", "random", "related", "related"]
    >>> row = {"samples": [{"start": kind, "rms": i} for i, kind in enumerate(kinds)]}
    >>> [one["rms"] for one in chains(row, 2, 4)]
    [0, 2]
    """
    related = [one for one in row["samples"] if one["start"] == "related"]
    own = [one for one in row["samples"] if one["start"] != "related"]
    n_related = len(related) * n // k
    return own[: n - n_related] + related[:n_related]


def lowest(first: Sequence[dict[str, Any]]) -> float | None:
    """Return the RMS distance of the lowest of some samples of a test crystal."""
    return min(first, key=lambda one: one["energy_per_atom"])["rms"] if first else None


def ranked_first(first: Sequence[dict[str, Any]], constants: Sequence[float]) -> float | None:
    """Return the RMS distance of the one that the model ranks first of some samples."""
    if not first:
        return None
    floor = min(one["energy_per_atom"] for one in first)

    def score(one: dict[str, Any]) -> float:
        made = Evidence(0.0, 0.0, one["energy_per_atom"] - floor, 0, one["log_odds"] or 0.0)
        return float(made.as_array() @ np.asarray(constants[1:]))

    return max(first, key=score)["rms"]


def rates(distances: list[float | None]) -> str:
    """Return match rate, strict rate and RMSE with one standard error."""
    found = np.array([rms for rms in distances if rms is not None])
    n = len(distances)
    match, strict = len(found) / n, float(np.sum(found < STRICT_RMS)) / n
    error = np.sqrt(match * (1 - match) / n)
    rmse = found.mean() if len(found) else float("nan")
    spread = found.std() / np.sqrt(len(found)) if len(found) else float("nan")
    return f"{match:.3f} ± {error:.3f}  strict {strict:.3f}  RMSE {rmse:.4f} ± {spread:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", help="JSON of an evaluation with k > 1 and random starts")
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--model", help="whose ranking is asked too")
    arguments = parser.parse_args()
    report = json.loads(Path(arguments.report).read_text())
    if report["start"] != "random":
        parser.error(f"the samples of start={report['start']!r} are not alike")
    constants = None
    if arguments.model:
        constants = load_model(arguments.model).card.get("ranking", {}).get("generated")
        if constants is None:
            parser.error(f"--model: {arguments.model} has no ranking of generated crystals")
    rows, k = report["per_structure"], report["k"]
    print(f"{len(rows)} crystals, {k} chains each")
    for n in arguments.chains:
        some = [chains(row, n, k) for row in rows]
        print(f"lowest of {n:2}: {rates([lowest(first) for first in some])}")
        if constants is not None:
            print(f"ranked of {n:2}: {rates([ranked_first(first, constants) for first in some])}")
    print(f"best of {k:2} offered: {rates([row['rms'] for row in rows])}")
    found = [[one["rms"] for one in row["samples"] if one["rms"] is not None] for row in rows]
    print(f"best of all {k:2}: {rates([min(some, default=None) for some in found])}")


if __name__ == "__main__":
    main()
