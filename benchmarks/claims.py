"""What the benchmarks share: runs that take turns, claims as lines of JSON, and the machine.

A claim is a ratio of ours to a named peer, measured in one run: the median over repeats in which
both take turns, so that other load on the machine meets both. Below one, ours is faster.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

Runs = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Claim:
    """One row of the table: `ours` and `theirs` are medians in `unit`, `ratio` that of pairs."""

    claim: str
    ours: float
    peer: str
    peer_version: str
    theirs: float
    unit: str
    ratio: float
    threads: int
    goal: str = ""  # what the ratio, or what is written there, should be
    hardware: str = ""

    def __str__(self) -> str:
        numbers = f"{self.ours:.3g} {self.unit}, {self.peer} {self.theirs:.3g} {self.unit}"
        goal = f" (goal: {self.goal})" if self.goal else ""
        return f"{self.claim}: ours {numbers}: ratio {self.ratio:.3g}{goal}"


def record(claim: Claim, path: Path | None) -> None:
    """Print a claim, and append it to a file."""
    print(claim, flush=True)
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(claim), "hardware": hardware()}) + "\n")


def take_turns(
    runs: Runs, repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Return the seconds of each run, repeat by repeat; a first round is not counted."""
    for run in runs.values():  # compiles, and warms the caches
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = clock()
            run()
            seconds[name].append(clock() - begin)
    return seconds


def compared(
    title: str,
    ours: list[float],
    theirs: list[float],
    *,
    peer: str,
    threads: int,
    unit: str = "s",
    goal: str = "",
    peer_version: str | None = None,
) -> Claim:
    """Return the claim that numbers of equal rounds make."""
    scale = 1e3 if unit.startswith("ms") else 1.0
    return Claim(
        claim=title,
        ours=scale * statistics.median(ours),
        peer=peer,
        peer_version=version_of(peer) if peer_version is None else peer_version,
        theirs=scale * statistics.median(theirs),
        unit=unit,
        ratio=statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        threads=threads,
        goal=goal,
    )


def version_of(package: str) -> str:
    """Return the version of an installed package; nothing for other peers."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def hardware() -> str:
    """Return the model of the CPU and the number of its cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def single_threaded(threads: int = 1) -> dict[str, str]:
    """Return the environment of a process with so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}
