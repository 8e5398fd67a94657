"""The pages name tests and files that exist."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_and_scripts_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/\w+\.py)::(\w+)`", text):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{file} has no {name}"
    for file in re.findall(r"(?:benchmarks|tests|docs|examples)/[\w/]+\.py", text):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize(
    ("page", "items"),
    [
        ("ase.md", {*range(1, 20), 39, 40}),
        ("sampling.md", {*range(20, 29)}),
        ("search.md", {*range(29, 39)}),
    ],
)
def test_every_item_of_the_checklist_has_a_test(page: str, items: set[int]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = {int(n) for n in re.findall(r"^\| (\d+) \|.*`tests/\w+\.py::\w+`", text, re.M)}
    assert found == items


def test_the_page_of_commands_is_that_of_the_command_line() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "commands.py"))["page"]()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == made
    for option in ("`--fix-cell`", "`--chain-steps`", "`-n`, `--number`"):
        assert option in made
