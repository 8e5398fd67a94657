"""Fit the ranking of a model to evaluations on validation crystals and show how well it holds.

    ase-continuousp evaluate --model MODEL --data val.csv.gz -k 20 --start mixed --json val.json
    python benchmarks/fit_ranking.py val.json
    python benchmarks/fit_ranking.py val.json --check test.json --plot reliability.png
    python benchmarks/fit_ranking.py val.json --only prototype generated "odds of prototype"

The constants printed go into the card of the model as {"ranking": {"constants": [...]}}. Loss and
first-choice match rate are cross-validated over four parts of the validation crystals.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ase_continuousp.search.calibration import fit_ranking
from ase_continuousp.search.evidence import EVIDENCE

# Evidence of all witnesses, whether their class is right, and which class that is.
Search = tuple[np.ndarray, np.ndarray, np.ndarray]


def searches_of(path: str, only: Sequence[str]) -> list[Search]:
    """Return evidence and answers of every test crystal of an evaluation.

    Evidence that may not count is zero, and so is what is fitted to it.
    """
    report = json.loads(Path(path).read_text())
    counts = np.array([name in only for name in EVIDENCE])
    made = []
    for row in report["per_structure"]:
        if row["classes"]:
            sizes = [len(one["evidence"]) for one in row["classes"]]
            rows = np.concatenate([one["evidence"] for one in row["classes"]])
            right = np.repeat([one["is_right"] for one in row["classes"]], sizes)
            made.append((rows * counts, right, np.repeat(np.arange(len(sizes)), sizes)))
    return made


def fitted(searches: Sequence[Search]) -> tuple[tuple[float, ...], float]:
    """Return constants and loss: the shares of right witnesses add up, in a class or not."""
    return fit_ranking([(rows, right) for rows, right, _ in searches])


def judged(constants: Any, searches: list[Search]) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the first choice of each search, and whether it is right."""
    w = np.asarray(constants)
    probabilities, hits = [], []
    for x, right, owner in searches:
        z = np.concatenate([[w[0]], x @ w[1:]])
        shares = np.exp(z - z.max())
        classes = np.bincount(owner, shares[1:])
        first = int(np.argmax(classes))
        probabilities.append(classes[first] / shares.sum())
        hits.append(bool(right[owner == first][0]))
    return np.array(probabilities), np.array(hits)


def reliability(probabilities: np.ndarray, hits: np.ndarray, n_bins: int = 5) -> str:
    """Return a table of claimed and observed rates in bins of equal number."""
    lines = ["claimed  observed  crystals"]
    for part in np.array_split(np.argsort(probabilities), n_bins):
        error = np.sqrt(max(hits[part].mean() * (1 - hits[part].mean()), 1e-9) / len(part))
        lines.append(
            f"{probabilities[part].mean():7.3f}  {hits[part].mean():.3f}±{error:.3f}  {len(part)}"
        )
    return "\n".join(lines)


def plot(probabilities: np.ndarray, hits: np.ndarray, path: str) -> None:
    """Draw the reliability curve."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 4))
    axes.plot([0, 1], [0, 1], color="0.7")
    parts = np.array_split(np.argsort(probabilities), 8)
    means = [hits[p].mean() for p in parts]
    errors = [np.sqrt(m * (1 - m) / len(p)) for m, p in zip(means, parts, strict=True)]
    axes.errorbar([probabilities[p].mean() for p in parts], means, errors, fmt="o-", capsize=2)
    axes.set(xlabel="probability claimed", ylabel="first choice right", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path, dpi=150, bbox_inches="tight")


def main() -> None:
    """Read the evaluations named on the command line and print the fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("validation", help="JSON of an evaluation with k > 1")
    parser.add_argument("--only", nargs="+", choices=EVIDENCE, default=EVIDENCE, metavar="NAME",
                        help=f"evidence that may count: {', '.join(EVIDENCE)}")  # fmt: skip
    parser.add_argument("--check", help="JSON of an evaluation of other crystals")
    parser.add_argument("--plot", help="where to draw the reliability curve of the check")
    arguments = parser.parse_args()
    searches = searches_of(arguments.validation, arguments.only)
    kept_p, kept_hits = [], []
    for part in range(4):
        train = [s for i, s in enumerate(searches) if i % 4 != part]
        constants, _ = fitted(train)
        p, hits = judged(constants, [s for i, s in enumerate(searches) if i % 4 == part])
        kept_p.append(p)
        kept_hits.append(hits)
    p, hits = np.concatenate(kept_p), np.concatenate(kept_hits)
    reachable = np.mean([right.any() for _, right, _ in searches])
    print(f"{len(searches)} searches; some class right in {reachable:.3f}")
    print(f"first choice right, cross-validated: {hits.mean():.3f}, claimed {p.mean():.3f}")
    print(reliability(p, hits))
    constants, loss = fitted(searches)
    print(f"loss {loss:.4f}, constants {json.dumps([round(c, 4) for c in constants])}")
    if arguments.check:
        p, hits = judged(constants, searches_of(arguments.check, arguments.only))
        print(f"check: first choice right {hits.mean():.3f}, claimed {p.mean():.3f}")
        print(reliability(p, hits))
        if arguments.plot:
            plot(p, hits, arguments.plot)


if __name__ == "__main__":
    main()
