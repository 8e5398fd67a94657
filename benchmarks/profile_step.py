"""Where the time of an evaluation goes, and what this machine could do at best.

Energy, forces and stress of 128 crystals (the inner step of a sampler) on one thread: processor
time of each part, operations and bytes counted from the sizes of the network, and the limits
that follow from the rates that the same process measures: products of one block again and again,
and the copying of a large array.

    python benchmarks/profile_step.py [--model mp20] [--crystals 128] [--repeats 11]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from some_crystals import random_crystals

from ase_continuousp import load_model
from ase_continuousp.model import _chains, _inference, _kernels, _product, derivatives
from ase_continuousp.model._room import BLOCK
from ase_continuousp.neighborlist import search

PARTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "neighbor search": (derivatives, ("search",)),
    "pairs, there": (_kernels, ("forward",)),
    "pairs, back": (_kernels, ("backward",)),
    "rows, there": (_chains, ("before", "after")),
    "rows, back": (_chains, ("back_after", "back_before")),
    "geometry and element": (_inference, ("vectors", "embed", "collect", "follow")),
}


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """Return the function, which adds its processor time to `spent`."""

    def run(*arguments: Any, **options: Any) -> Any:
        begin = time.thread_time()
        made = function(*arguments, **options)
        spent[name] += time.thread_time() - begin
        return made

    return run


def median_of(run: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of a call [s]."""
    times = []
    for _ in range(repeats):
        begin = time.thread_time()
        run()
        times.append(time.thread_time() - begin)
    return float(np.median(times))


def operations(sizes: dict[str, int], n_atoms: int, n_pairs: int) -> tuple[float, float]:
    """Return floating-point operations of products and of pairs, there and back."""
    n_f, n_g, n_layers = (sizes[k] for k in ("channels", "vector_channels", "n_layers"))
    products, pairs = 2.0 * n_f * n_f, 0.0
    for k in range(n_layers):
        n_t, n_d = (2 * n_g, n_f) if k == n_layers - 1 else (3 * n_g, n_f + n_g)
        n_c = n_g if k else 0
        products += n_f * (2 * n_f + 2 * n_g) + 3 * n_c * n_c + 3 * n_g * n_t
        products += (2 * n_f + n_g) * n_f + n_f * n_d
        n_q = n_f + n_g + n_c
        pairs += 8 * n_q + 4 * n_f + 14 * n_g + 12 * n_c  # there
        pairs += 16 * n_q + 8 * n_f + 40 * n_g + 24 * n_c  # back
    return 4.0 * products * n_atoms, pairs * n_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--crystals", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model)
    energy, batch = model.energy(device="cpu"), random_crystals(options.crystals)
    sizes = model.network.hyperparameters
    n_pairs = search(batch, energy.network.cutoff_ratio * batch.lengths, half=True).n_pairs
    whole = median_of(lambda: energy(batch), options.repeats)

    spent: dict[str, float] = defaultdict(float)
    for part, (module, names) in PARTS.items():
        for name in names:
            setattr(module, name, timed(getattr(module, name), part, spent))
    energy(batch)
    seen: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.repeats):
        spent.clear()
        energy(batch)
        for part in PARTS:
            seen[part].append(spent[part])
    print(
        f"{options.crystals} crystals, {batch.n_atoms} atoms, {n_pairs} pairs: {1e3 * whole:.1f} ms"
    )
    rest = whole
    for part, times in seen.items():
        rest -= np.median(times)
        print(f"  {part:22s} {1e3 * np.median(times):7.2f} ms  {np.median(times) / whole:5.1%}")
    print(f"  {'rest (Python)':22s} {1e3 * rest:7.2f} ms  {rest / whole:5.1%}")

    n_f = sizes["channels"]
    product = _product.Product(np.ones((2 * n_f, n_f), np.float32))
    x, y = np.ones((BLOCK, n_f), np.float32), np.empty((BLOCK, 2 * n_f), np.float32)
    rate = 4.0 * BLOCK * n_f * n_f / median_of(lambda: product.there(x, y), 200)
    source = np.ones(1 << 25)
    target = np.empty_like(source)
    bandwidth = 2.0 * source.nbytes / median_of(lambda: np.copyto(target, source), 5)
    with energy._inference._rooms.room(batch.n_atoms, batch.n_crystals) as room:
        kept = sum(array.nbytes for layer in room.kept for array in layer)
    in_products, in_pairs = operations(sizes, batch.n_atoms, n_pairs)
    print(
        f"operations: {in_products / 1e9:.2f} G in products, {in_pairs / 1e9:.2f} G in pairs; one "
        f"block again and again: {rate / 1e9:.0f} G/s\n"
        f"kept for the way back: {kept / 2**20:.0f} MiB, written and read once; copying: "
        f"{bandwidth / 1e9:.1f} GB/s\n"
        f"limits: operations {1e3 * (in_products + in_pairs) / rate:.1f} ms, bytes "
        f"{2e3 * kept / bandwidth:.1f} ms; reached {1e3 * whole:.1f} ms"
    )


if __name__ == "__main__":
    main()
