"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import ase_continuousp

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = [
    "ase_continuousp",
    *(m.name for m in pkgutil.walk_packages(ase_continuousp.__path__, "ase_continuousp.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert outcome.failed == 0


@pytest.mark.parametrize("name", sorted(set(ase_continuousp.__all__) - {"__version__"}))
def test_public_name_has_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(getattr(ase_continuousp, name)) or "")
