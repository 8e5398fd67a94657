"""Time and memory of one evaluation (energy, forces, stress) against the number of atoms.

Every size runs in a process of its own: rattled supercells of rock salt through the calculator,
processor time of the calling thread (one thread), peak memory of the whole process. The sizes take
turns; of the medians, time per atom is compared with that of a thousand atoms.

    python benchmarks/bench_size.py [--sizes 10 100 1000 10000] [--rounds 2] [--plot docs/size.png]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from claims import Claim, compared, record, single_threaded

SIZES = (1, 10, 100, 1000, 10000, 100000)
PEER = 1000  # atoms


def measure(n_atoms: int, model: str, dtype: str, repeats: int) -> dict[str, float]:
    import numpy as np
    import torch
    from ase.build import bulk

    from ase_continuousp import ContinuouSPCalculator

    torch.set_num_threads(1)
    # The primitive cell, repeated along one to three directions to nearly the number asked for.
    pairs = max(1, round(n_atoms / 2))
    a = max(1, round(pairs ** (1 / 3)))
    b = max(1, round((pairs / a) ** 0.5))
    atoms = bulk("NaCl", "rocksalt", a=5.64) * (a, b, max(1, round(pairs / a / b)))
    if n_atoms == 1:
        del atoms[1]
    rng = np.random.default_rng(0)
    atoms.calc = ContinuouSPCalculator(model, device="cpu", dtype=dtype)
    atoms.calc.settle()
    atoms.get_stress()  # compiles, and warms the caches
    times = []
    for _ in range(repeats):
        atoms.positions += 0.01 * rng.normal(size=atoms.positions.shape)
        begin = time.thread_time()
        atoms.get_stress()
        times.append(time.thread_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"atoms": len(atoms), "seconds": float(np.median(times)), "gigabytes": peak}


def plot(rows: list[dict[str, float]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.8), layout="constrained")
    atoms = [row["atoms"] for row in rows]
    left.loglog(atoms, [1e3 * row["seconds"] / row["atoms"] for row in rows], "o-")
    left.set(xlabel="atoms", ylabel="ms per atom and step")
    right.loglog(atoms, [1e3 * row["seconds"] for row in rows], "o-", label="time [ms]")
    right.loglog(atoms, [1024 * row["gigabytes"] for row in rows], "s-", label="memory [MiB]")
    slope = 1e3 * rows[-1]["seconds"] / rows[-1]["atoms"]
    right.loglog(atoms, [slope * n for n in atoms], "k:", label="proportional")
    right.set(xlabel="atoms", ylabel="one step, whole process")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def run(n_atoms: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(n_atoms), "--model", options.model]
    command += ["--dtype", options.dtype, "--repeats", str(options.repeats)]
    done = subprocess.run(command, env=single_threaded(), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{n_atoms} atoms failed with status {done.returncode}")
    return json.loads(done.stdout)


def claims(rounds: dict[int, list[dict[str, float]]]) -> list[Claim]:
    """Compare the largest size with a thousand atoms, if both were measured."""
    largest = max(rounds)
    if PEER not in rounds or largest == PEER:
        return []
    ours, theirs = ([row["seconds"] / row["atoms"] for row in rounds[n]] for n in (largest, PEER))
    n_atoms = f"{rounds[largest][0]['atoms']:,.0f} atoms"
    peer = f"the same with {rounds[PEER][0]['atoms']:,.0f} atoms"
    return [
        compared(
            f"energy, forces, stress of {n_atoms}",
            ours, theirs, peer=peer, threads=1, unit="ms/atom", goal="≤ 1.3",
        ),
        compared(
            f"peak memory of the process, {n_atoms}",
            *([row["gigabytes"] for row in rounds[n]] for n in (largest, PEER)),
            peer=peer, threads=1, unit="GiB", goal="below 8 GiB",
        ),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", metavar="FILE.png")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = measure(options.one, options.model, options.dtype, options.repeats)
        print(json.dumps(found))
        return
    print(f"model {options.model}, {options.dtype}, one thread")
    rounds: dict[int, list[dict[str, float]]] = {n: [] for n in options.sizes}
    for _ in range(options.rounds):
        for n_atoms in options.sizes:
            rounds[n_atoms].append(run(n_atoms, options))
    rows = [
        {key: statistics.median(row[key] for row in found) for key in found[0]}
        for found in rounds.values()
    ]
    print(f"{'atoms':>8s} {'ms':>10s} {'ms / atom':>10s} {'GiB':>6s}")
    for row in rows:
        ms = 1e3 * row["seconds"]
        print(f"{row['atoms']:8.0f} {ms:10.2f} {ms / row['atoms']:10.4f} {row['gigabytes']:6.2f}")
    for claim in claims(rounds):
        record(claim, options.json)
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
