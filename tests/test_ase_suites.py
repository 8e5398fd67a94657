"""No test of ASE's modules is left out without a written reason."""

from __future__ import annotations

import importlib

import pytest

from tests import ase_suites


@pytest.mark.parametrize("module", ase_suites.LEFT_OUT)
def test_every_test_runs_or_has_its_reason(module: str) -> None:
    running = {
        original
        for here in ase_suites.RUN_IN
        for source, original in ase_suites.taken(importlib.import_module(here)).values()
        if source == module
    }
    left_out = ase_suites.LEFT_OUT[module]
    assert running | set(left_out) == set(ase_suites.test_functions(module))
    assert not running & set(left_out)
    assert all(len(reason) > 15 for reason in left_out.values())


def test_no_suite_is_forgotten() -> None:
    for here in ase_suites.RUN_IN:
        sources = {s for s, _ in ase_suites.taken(importlib.import_module(here)).values()}
        assert sources <= set(ase_suites.LEFT_OUT)
