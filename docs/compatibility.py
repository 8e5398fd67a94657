"""Run the suites and tools that others wrote, and write the table of docs/ase.md.

    make compatibility
    make compatibility VENV=.venv-integrations    # with the tools that are only there

Without --check it rewrites the table between the two marks of the page; the exit status is that of
the tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests import ase_suites  # noqa: E402

PAGE = ROOT / "docs" / "ase.md"
BEGIN, END = "<!-- compatibility: begin -->\n", "<!-- compatibility: end -->\n"

# Name, distribution, module of ours, start of the names of its tests.
TOOLS = (
    ("phonopy: phonons of rock salt", "phonopy", "tests.test_reuse", "test_phonons"),
    ("pymatgen: Structure.relax", "pymatgen", "tests.test_reuse", "test_pymatgen"),
    ("simple-dftd3: D3 in a sum", "dftd3", "tests.test_reuse", "test_dispersion"),
    ("matcalc: relaxation, EOS, elasticity", "matcalc", "tests.integrations.test_matcalc", ""),
    ("quacc: Runner", "quacc", "tests.integrations.test_quacc", ""),
    ("janus-core: Python interface", "janus-core", "tests.integrations.test_janus_core", ""),
    (
        "torch-sim: validate_model_outputs",
        "torch-sim-atomistic",
        "tests.integrations.test_torch_sim",
        "",
    ),
    ("CHGNet: weighted sum", "chgnet", "tests.integrations.test_chgnet", ""),
)


def run() -> tuple[dict[tuple[str, str], list[str]], int]:
    """Return the outcomes of every test function, and the exit status of pytest."""
    modules = sorted({*ase_suites.RUN_IN, *(module for _, _, module, _ in TOOLS)})
    files = [f"{module.replace('.', '/')}.py" for module in modules]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", f"--junitxml={report}"]
        status = subprocess.run([*command, *files], cwd=ROOT).returncode
        cases = ElementTree.parse(report).iter("testcase")
        outcomes: dict[tuple[str, str], list[str]] = defaultdict(list)
        for case in cases:
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            name = case.get("name", "").partition("[")[0]
            outcomes[case.get("classname", ""), name].append(min(kinds, default="passed"))
    return outcomes, status


def row(name: str, package: str, outcomes: list[str], reasons: str) -> str:
    try:
        shown = version(package)
    except PackageNotFoundError:
        return f"| {name} | – | – | – | not run: {package} is not installed |"
    ran = [outcome for outcome in outcomes if outcome != "skipped"]
    n_skipped = len(outcomes) - len(ran)
    if n_skipped:
        reasons = "; ".join(filter(None, [reasons, f"{n_skipped} skipped"]))
    return f"| {name} | {shown} | {len(ran)} | {ran.count('passed')} | {reasons} |"


def table(outcomes: dict[tuple[str, str], list[str]]) -> list[str]:
    suites: dict[str, list[str]] = {module: [] for module in ase_suites.LEFT_OUT}
    for here in ase_suites.RUN_IN:
        for name, (source, _) in ase_suites.taken(import_module(here)).items():
            suites[source] += outcomes.get((here, name), [])
    lines = [
        "| suite or tool | version | tests run | passed | left out, and why |",
        "|---|---|---|---|---|",
    ]
    for module, found in suites.items():
        grouped: dict[str, list[str]] = defaultdict(list)
        for name, reason in ase_suites.LEFT_OUT[module].items():
            grouped[reason].append(f"`{name}`")
        reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in grouped.items())
        lines.append(row(f"`{module}`", "ase", found, reasons))
    for name, package, module, start in TOOLS:
        found = [
            outcome
            for (where, test), each in outcomes.items()
            if where == module and test.startswith(start)
            for outcome in each
        ]
        lines.append(row(name, package, found, ""))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="print the table and write nothing")
    options = parser.parse_args()
    outcomes, status = run()
    made = "\n".join(table(outcomes)) + "\n"
    print(made)
    if not options.check:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(before + BEGIN + made + END + after, encoding="utf-8")
    sys.exit(status)


if __name__ == "__main__":
    main()
