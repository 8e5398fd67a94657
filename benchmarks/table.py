"""Run all benchmarks and write their claims, as a table, into README.md; behind `make bench`.

Every script writes its claims as lines of JSON, which are kept in build/bench.jsonl; the table
stands between two comments of README.md. It names the machine, how busy it was, and the commit.

    python benchmarks/table.py [--only bench_size.py ...] [--repeats 3] [--reuse]
        [--readme README.md]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from claims import hardware, single_threaded, version_of

ROOT = Path(__file__).parent.parent
SCRIPTS = (
    "bench_neighborlist.py",
    "bench_energy.py",
    "bench_calculator.py",
    "bench_step.py",
    "bench_size.py",
    "bench_startup.py",
)
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measured(scripts: list[str], repeats: int | None, path: Path) -> None:
    """Run the scripts; their claims replace older ones of the same script in the file."""
    for script in scripts:
        print(f"== {script}", flush=True)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        before = load()
        command = [sys.executable, str(ROOT / "benchmarks" / script), "--json", str(fresh)]
        command += [] if repeats is None else ["--repeats", str(repeats)]
        status = subprocess.run(command, cwd=ROOT, env=single_threaded()).returncode
        if status:
            print(f"{script} failed with status {status}: its claims stay as they were")
            continue
        new = read(fresh)
        where = {
            "script": script,
            "commit": git("describe", "--always", "--dirty"),
            "load": [before, load()],
            "date": datetime.date.today().isoformat(),
        }
        kept = [row for row in read(path) if row["script"] != script]
        rows = [*kept, *({**row, **where} for row in new)]
        fresh.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(fresh, path)


def read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def ratio(row: dict[str, Any]) -> str:
    peer = f"{row['peer']} {row['peer_version']}".strip()
    goal = f", goal {row['goal']}" if row["goal"] else ""
    return f"**{number(row['ratio'])}** ({peer}{goal})"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown, scripts in their order, and what they were measured on."""
    rows = sorted(rows, key=lambda row: SCRIPTS.index(row["script"]))
    lines = ["| what | threads | ours | ours / peer |", "|---|---|---|---|"]
    for (claim, threads), group in groupby(rows, key=lambda row: (row["claim"], row["threads"])):
        peers = list(group)
        ours = f"{number(peers[0]['ours'])} {peers[0]['unit']}"
        ratios = ", ".join(ratio(row) for row in peers)
        lines.append(f"| {claim} | {threads} | {ours} | {ratios} |")
    machines = "; ".join(sorted({row["hardware"] for row in rows})) or hardware()
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    dates = sorted({row["date"] for row in rows})
    loads = sorted({float(x) for row in rows for x in row["load"] if x != "unknown"})
    busy = f"{loads[0]} to {loads[-1]}" if loads else "unknown"
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("numpy", "numba", "torch"))
    note = (
        f"On {machines}, whose load average (1 minute) was {busy} while this was measured, at "
        f"commit {commits} ({dates[-1]}), Python {platform.python_version()}, {versions}. Times "
        "are medians, ratios the median of repeated pairs in one run; with one thread processor "
        "time, with more time on the wall."
    )
    return "\n".join([*lines, "", note])


def write(text: str, readme: Path) -> None:
    old = readme.read_text(encoding="utf-8")
    if BEGIN not in old or END not in old:
        raise SystemExit(f"{readme} lacks the lines {BEGIN!r} and {END!r}")
    head, _, rest = old.partition(BEGIN)
    tail = rest.partition(END)[2]
    draft = readme.with_suffix(".tmp")
    draft.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    os.replace(draft, readme)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--repeats", type=int, help="Instead of what each script thinks enough.")
    parser.add_argument("--reuse", action="store_true", help="Measure nothing, write the table.")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args()
    path = ROOT / "build" / "bench.jsonl"
    path.parent.mkdir(exist_ok=True)
    if not options.reuse:
        measured(options.only, options.repeats, path)
    rows = read(path)
    if not rows:
        raise SystemExit("nothing was measured")
    write(table(rows), options.readme)


if __name__ == "__main__":
    main()
