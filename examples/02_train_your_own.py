"""Train on a few hundred crystals of your own, then generate crystals with the model.

    python examples/02_train_your_own.py my_crystals.extxyz --out my_model

Without a file it builds 200 binary crystals of four structure types. The preset "small" takes
600 updates of 16 crystals: some 20 seconds on one core.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii
from ase.io import write

from ase_continuousp import TrainConfig, evaluate, sample, train
from ase_continuousp.io import to_atoms
from ase_continuousp.training.data import read_crystals


def example_crystals(path: Path) -> Path:
    """Write 200 crystals: 8 metals with 6 anions, in structures by the ratio of their radii."""
    rng = np.random.default_rng(0)
    images = []
    pairs = list(product(["Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba"],
                         ["O", "S", "Se", "F", "Cl", "Br"]))  # fmt: skip
    while len(images) < 200:
        metal, anion = pairs[rng.integers(len(pairs))]
        small, large = sorted(covalent_radii[atomic_numbers[x]] for x in (metal, anion))
        name = "rocksalt" if small / large < 0.8 else "cesiumchloride"
        stretch = 2.0 if name == "rocksalt" else 2.0 / np.sqrt(3.0)
        a = stretch * (small + large) * rng.normal(1.0, 0.01)
        images.append(bulk(metal + anion, name, a=a))
    write(path, images)
    return path


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", type=Path, nargs="?", help="CSV with CIFs, extxyz or ase.db")
    parser.add_argument("--out", type=Path, default=Path("my_model"))
    parser.add_argument("--steps", type=int, help="instead of the preset's 600")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    source = options.crystals or example_crystals(options.out / "crystals.extxyz")

    # Every tenth crystal is kept out of training, to see whether the model has learned anything.
    crystals = to_atoms(read_crystals(source))
    write(options.out / "train.extxyz", [c for i, c in enumerate(crystals) if i % 10])
    write(options.out / "held_out.extxyz", crystals[::10])

    changes = {} if options.steps is None else {"steps": options.steps}
    config = TrainConfig.preset("small", **changes)
    model = train(
        config, options.out / "train.extxyz", options.out / "model",
        val=options.out / "held_out.extxyz", progress=True,
    )  # fmt: skip

    report = evaluate(model, options.out / "held_out.extxyz", processes=1)
    print(f"found {report.match_rate:.0%} of {report.n} crystals kept out, RMSE {report.rmse:.3f}")
    [made] = sample([crystals[0].get_chemical_formula()], model=model)
    print(f"{made.symbols}: cell {np.round(made.cell.cellpar(), 2).tolist()}")
    return report.match_rate


if __name__ == "__main__":
    main()
