"""What the installed package says of itself, and its place among the plugins of ASE."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, entry_points
from importlib.resources import files
from pathlib import Path

import ase
import pytest

import ase_continuousp

REPOSITORY = Path(ase_continuousp.__file__).parent.parent
HAS_PLUGINS = tuple(int(part) for part in ase.__version__.split(".")[:2]) >= (3, 29)


def test_metadata() -> None:
    found = distribution("ase-continuousp").metadata
    assert found["Version"] == ase_continuousp.__version__
    assert found["License-Expression"] == "MIT"
    assert found["Requires-Python"] == ">=3.10"
    assert "ASE calculator" in found["Summary"]
    assert set(found.get_all("Provides-Extra")) == {
        *(
            "scatter",
            "train",
            "search",
            "report",
            "cuda",
            "torch-sim",
            "bench",
            "metrics",
            "data",
            "test",
            "docs",
        )
    }


def test_package_is_typed() -> None:
    assert files("ase_continuousp").joinpath("py.typed").is_file()


def test_console_script_points_to_the_command_line() -> None:
    [script] = [e for e in entry_points(group="console_scripts") if e.name == "ase-continuousp"]
    assert script.value == "ase_continuousp.cli.main:main"
    assert callable(script.load())


def test_one_version_and_one_home_for_the_metadata() -> None:
    assert f"version: {ase_continuousp.__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()
    # With this table setuptools would ignore what setup.cfg says.
    assert "[project]" not in (REPOSITORY / "pyproject.toml").read_text()


@pytest.mark.skipif(not HAS_PLUGINS, reason="plugins came with ASE 3.29")
def test_ase_lists_the_calculator() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ase", "info", "--plugins"],
        capture_output=True,
        text=True,
        check=True,
    )
    ours = done.stdout.partition(f"ase_continuousp {ase_continuousp.__version__}")[2]
    assert "CalculatorPlugin" in ours
    assert "continuousp" in ours.partition("CalculatorPlugin")[2].split()


@pytest.mark.skipif(not HAS_PLUGINS, reason="plugins came with ASE 3.29")
@pytest.mark.parametrize("first", ["ase._4.plugins", "ase_continuousp.plugin"])
def test_plugin_is_found_whatever_is_imported_first(first: str) -> None:
    code = f"""
import {first}
from ase._4.plugins import plugins
print([p.name for p in plugins.calculators if p.package == "ase_continuousp"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['continuousp']"


@pytest.mark.skipif(not HAS_PLUGINS, reason="plugins came with ASE 3.29")
def test_listing_plugins_loads_neither_torch_nor_the_calculator() -> None:
    code = """
import sys
from ase._4.plugins import plugins
print([p.name for p in plugins.calculators if p.package == "ase_continuousp"])
print("torch" in sys.modules, "ase_continuousp.calculator" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["['continuousp']", "False False"]


@pytest.mark.skipif(not HAS_PLUGINS, reason="plugins came with ASE 3.29")
def test_plugin_is_the_calculator_that_ase_knows_by_name() -> None:
    from ase._4.plugins import plugins
    from ase.calculators.calculator import get_calculator_class

    [plugin] = [p for p in plugins.calculators if p.package == "ase_continuousp"]
    assert plugin.implementation is ase_continuousp.ContinuouSPCalculator
    assert get_calculator_class("continuousp") is ase_continuousp.ContinuouSPCalculator
