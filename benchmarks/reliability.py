"""How often the first choice of a model is right, against what it claims.

    ase-continuousp evaluate --model mp20 --data test.csv.gz -k 20 --start mixed --json mixed.json
    python benchmarks/reliability.py mixed.json --plot docs/reliability.png

The claims are those of the report.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np


def main() -> None:
    """Print claims and rates of parts of equal number, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", help="JSON of an evaluation with prototypes and k > 1")
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--plot", help="where to draw the curve")
    arguments = parser.parse_args()
    report = json.loads(Path(arguments.report).read_text())
    told = [row for row in report["per_structure"] if row["top1_probability"] is not None]
    if not told:
        parser.error(f"model {report['model']!r} claims no probabilities")
    claimed = np.array([row["top1_probability"] for row in told])
    right = np.array([row["top1_rms"] is not None for row in told])
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
