"""Time and memory of a whole process that computes one energy of rock salt and ends.

Ours with kernels on disk and with an empty Numba cache, against CHGNet through its own ASE
calculator, and against a process that only imports torch. Processor time of the process (also
printed: time on the wall) and its peak memory; all take turns.

    python benchmarks/bench_startup.py [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from claims import compared, record, single_threaded, version_of

OURS = """
from ase import Atoms
from ase_continuousp import ContinuouSPCalculator
salt = Atoms("NaCl", [[0, 0, 0], [2.82, 0, 0]], cell=[[0, 2.82, 2.82], [2.82, 0, 2.82],
    [2.82, 2.82, 0]], pbc=True, calculator=ContinuouSPCalculator("mp20", device="cpu"))
print(salt.get_potential_energy())
"""
CHGNET = """
import warnings
warnings.simplefilter("ignore")
from ase import Atoms
from chgnet.model.dynamics import CHGNetCalculator
salt = Atoms("NaCl", [[0, 0, 0], [2.82, 0, 0]], cell=[[0, 2.82, 2.82], [2.82, 0, 2.82],
    [2.82, 2.82, 0]], pbc=True, calculator=CHGNetCalculator(use_device="cpu"))
print(salt.get_potential_energy())
"""


class Spent(NamedTuple):
    processor: float
    wall: float
    mebibytes: float


def spent(code: str, **environment: str) -> Spent:
    """Run code in a new process; only there, since what this one has imported would count."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**single_threaded(), **environment},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"this failed with status {process.returncode}:\n{code}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Spent(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / unit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    has_chgnet = find_spec("chgnet") is not None
    if not has_chgnet:
        print("chgnet is not installed: left out")
    spent(OURS.replace("print(", "salt.calc.settle()\nprint("))  # fills the cache
    rounds: dict[str, list[Spent]] = {}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as empty:
            rounds.setdefault("empty", []).append(spent(OURS, NUMBA_CACHE_DIR=empty))
        rounds.setdefault("ours", []).append(spent(OURS))
        rounds.setdefault("torch", []).append(spent("import torch"))
        if has_chgnet:
            rounds.setdefault("chgnet", []).append(spent(CHGNET))
    for name, all_spent in rounds.items():
        processor, wall, memory = (
            statistics.median(values) for values in zip(*all_spent, strict=True)
        )
        print(f"{name:7s} {processor:.2f} s of the processor, {wall:.2f} s, {memory:.0f} MiB")
    titles = {"ours": "kernels on disk", "empty": "empty Numba cache"}
    for name, title in titles.items():
        for peer in ("torch", "chgnet"):
            if peer in rounds:
                claim = compared(
                    f"a process with one energy, {title}",
                    [one.processor for one in rounds[name]],
                    [one.processor for one in rounds[peer]],
                    peer={"torch": "import torch"}.get(peer, peer),
                    peer_version=version_of(peer),
                    threads=1,
                    goal="below 3 s",
                )
                record(claim, options.json)
    if has_chgnet:
        memory = [[one.mebibytes for one in rounds[name]] for name in ("ours", "chgnet")]
        claim = compared(
            "its peak memory", *memory, peer="chgnet", threads=1, unit="MiB", goal="below 400 MiB"
        )
        record(claim, options.json)


if __name__ == "__main__":
    main()
