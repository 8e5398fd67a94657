"""How often the first choice of a model is right, against what it claims.

    ase-continuousp evaluate --model mp20 --data test.csv.gz -k 20 --start mixed --json mixed.json
    python benchmarks/reliability.py mixed.json --model mp20 --plot docs/reliability.png

The claims are made anew from the evidence in the report, by the ranking in the card of the model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ase_continuousp import load_model
from ase_continuousp.search.rank import CalibratedRanking, probabilities, ranking_of_model


def first_choice(row: dict[str, Any], ranking: CalibratedRanking) -> tuple[float, bool]:
    """Return the probability that the likeliest class claims, and whether it is right."""
    w = ranking.constants
    scores = [np.logaddexp.reduce(np.array(one["evidence"]) @ w[1:]) for one in row["classes"]]
    claimed = probabilities(scores, w[0], ranking.sharpness)
    first = int(np.argmax(claimed))
    return float(claimed[first]), bool(row["classes"][first]["is_right"])


def main() -> None:
    """Print claims and rates of parts of equal number, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", help="JSON of an evaluation with prototypes and k > 1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--plot", help="where to draw the curve")
    arguments = parser.parse_args()
    report = json.loads(Path(arguments.report).read_text())
    ranking = ranking_of_model(load_model(arguments.model).card)
    if not ranking.is_fitted:
        parser.error(f"model {arguments.model!r} claims no probabilities")
    told = [first_choice(row, ranking) for row in report["per_structure"] if row["classes"]]
    claimed, right = np.array([p for p, _ in told]), np.array([hit for _, hit in told])
    parts = np.array_split(np.argsort(claimed), arguments.parts)
    means = np.array([claimed[part].mean() for part in parts])
    rates = np.array([right[part].mean() for part in parts])
    errors = np.array([np.sqrt(r * (1 - r) / len(p)) for r, p in zip(rates, parts, strict=True)])
    print("claimed  right")
    for mean, rate, error in zip(means, rates, errors, strict=True):
        print(f"{mean:7.3f}  {rate:.3f} ± {error:.3f}")
    if arguments.plot:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(3.6, 3.6))
        axes.plot([0, 1], [0, 1], color="0.7")
        axes.errorbar(means, rates, errors, fmt="o-", capsize=2)
        axes.set(
            xlabel="probability claimed", ylabel="first choice right", xlim=(0, 1), ylim=(0, 1)
        )
        figure.savefig(arguments.plot, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
