"""Hostile files and formulas: mutated from good ones, read under a watchdog, refused or read.

``python -m tests.fuzzing --inputs 100000`` reads that many, each target in a process of its own
with bounded memory, and prints a table. Input k of a target is the same on every machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz_targets import Target, mutate, targets

DOCUMENTED = (ValueError, TypeError, FileNotFoundError)
SECONDS = 5.0  # of processor time, for one input
_SILENCE = 120.0  # seconds without a finished input before the process is given up
_MEMORY = 1 << 30  # beyond what the process has once everything is imported

# Of the inputs in percent: by what one costs.
_SHARES = {"cif": 6, "extxyz": 26, "card": 16, "safetensors": 10, "priors": 10, "formula": 32}


class Hang(BaseException):
    """An input took too long."""


def attack(target: Target, number: int, folder: Path) -> str:
    """Read input `number` of a target: "read", "refused", or what went wrong."""
    data = mutate(target.seeds, np.random.default_rng([number, len(target.name)]))
    where = folder / "work"
    where.mkdir(exist_ok=True)
    try:
        with watched(where), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            target.read(data, where)
    except DOCUMENTED:
        return "refused"
    except (Exception, Hang) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:80]} at {place.filename}:{place.lineno}"
    return "read"


_allowed: list[str] = []
_forbidden = ("os.system", "subprocess.Popen", "socket.connect", "pickle.find_class", "os.exec")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _allowed:
        return
    if event in _forbidden:
        raise PermissionError(f"{event} {arguments!r}"[:200])
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link")
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        flags = arguments[2] or 0
        changes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    if changes:
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not path.startswith(_allowed[0]) and path != os.devnull:
            raise PermissionError(f"{event} outside of the folder: {path}")


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Forbid files outside of a folder, programs, connections and unpickling; limit the time."""

    def expire(*_: object) -> None:
        raise Hang(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    _allowed.append(os.path.realpath(folder) + os.sep)
    try:
        yield
    finally:
        _allowed.clear()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _work(name: str, first: int, last: int) -> None:
    """Attack in this process, one line of JSON an input that went wrong, and marks of progress."""
    with tempfile.TemporaryDirectory() as folder:
        [target] = [t for t in targets(Path(folder)) if t.name == name]
        for data in target.seeds:  # imports what is needed
            with tempfile.TemporaryDirectory(dir=folder) as where:
                target.read(data, Path(where))
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, size + _MEMORY))
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        slowest = 0.0
        print("{}", flush=True)  # ready
        for number in range(first, last):
            began = time.process_time()
            result = attack(target, number, Path(folder))
            slowest = max(slowest, time.process_time() - began)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
            row = {"number": number, "result": result, "slowest": slowest, "grown": grown / 1024}
            print(json.dumps(row), flush=True)


def _run(name: str, n_inputs: int) -> dict[str, Any]:
    """Attack a target in processes that may die, and count."""
    counts = {"read": 0, "refused": 0}
    faults: dict[str, int] = {}
    first, slowest, grown = 0, 0.0, 0.0
    while first < n_inputs:
        command = [sys.executable, "-m", "tests.fuzzing", "--target", name]
        with subprocess.Popen(
            [*command, "--first", str(first), "--last", str(n_inputs)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            signal.signal(signal.SIGALRM, lambda *_, child=process: child.kill())
            signal.setitimer(signal.ITIMER_REAL, 4 * _SILENCE)
            started = False
            for line in process.stdout:
                started = True
                signal.setitimer(signal.ITIMER_REAL, _SILENCE)
                row = json.loads(line)
                if not row:
                    continue
                first = row["number"] + 1
                slowest, grown = max(slowest, row["slowest"]), max(grown, row["grown"])
                if row["result"] in counts:
                    counts[row["result"]] += 1
                else:
                    print(f"{name} {row['number']}: {row['result']}", flush=True)
                    kind = row["result"].split(":")[0]
                    faults[kind] = faults.get(kind, 0) + 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        if process.returncode != 0 and not started:
            raise RuntimeError(f"{name}: the process ended with {process.returncode} at once")
        if process.returncode != 0:
            print(f"{name} {first}: the process ended with {process.returncode}", flush=True)
            faults["crash"] = faults.get("crash", 0) + 1
            first += 1
    return {
        **counts,
        "faults": faults,
        "slowest / s": round(slowest, 2),
        "grown / MiB": round(grown),
    }


def main() -> None:
    """Attack every target, or do the work of one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--target")
    parser.add_argument("--first", type=int)
    parser.add_argument("--last", type=int)
    options = parser.parse_args()
    if options.last is not None:
        _work(options.target, options.first, options.last)
        return
    with tempfile.TemporaryDirectory() as folder:
        names = [target.name for target in targets(Path(folder))]
    names = [name for name in names if options.target in (None, name)]
    total = sum(_SHARES[name] for name in names)
    for name in names:
        print(name, _run(name, options.inputs * _SHARES[name] // total), flush=True)


if __name__ == "__main__":
    main()
