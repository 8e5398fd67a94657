"""How claims are made and how they get into the README; nothing is timed here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.io import from_atoms
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.random import RandomStart
from ase_continuousp.starts.related import WithRelated

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def rows_of(load: Any, path: Path) -> list[dict[str, Any]]:
    claims = load("claims")
    for peer, theirs in (("numpy", [2.0, 4.0, 8.0]), ("nobody", [1.0, 1.0, 1.0])):
        claim = claims.compared(
            "work", [1.0, 1.0, 1.0], theirs, peer=peer, threads=1, unit="ms", goal="≤ 0.5"
        )
        claims.record(claim, path)
    where = {"script": "bench_step.py", "commit": "abc1234", "load": ["0.5", "7.5"]}
    read = path.read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), **where, "date": "2026-11-22"} for line in read]


def test_ratio_is_the_median_of_pairs(load: Any, tmp_path: Path) -> None:
    one, other = rows_of(load, tmp_path / "claims.jsonl")
    assert (one["ours"], one["theirs"], one["ratio"]) == (1000.0, 4000.0, 0.25)
    assert one["peer_version"].count(".") >= 1
    assert (other["ratio"], other["peer_version"]) == (1.0, "")
    assert "core" in one["hardware"]


def test_runs_take_turns_after_a_round_that_is_not_counted(load: Any) -> None:
    called: list[str] = []
    clock = iter(range(100))
    seconds = load("claims").take_turns(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")},
        2,
        lambda: next(clock),
    )
    assert called == list("ababab")
    assert seconds == {"a": [1, 1], "b": [1, 1]}


def test_table_names_peers_machine_load_and_commit(load: Any, tmp_path: Path) -> None:
    text = load("table").table(rows_of(load, tmp_path / "claims.jsonl"))
    [row] = [line for line in text.splitlines() if "work" in line]
    assert "1000 ms" in row
    assert "**0.25** (numpy " in row
    assert "**1** (nobody, goal ≤ 0.5)" in row
    for fact in ("abc1234", "0.5 to 7.5", "2026-11-22", "cores"):
        assert fact in text


def test_table_stands_between_the_marks_and_nothing_else_changes(load: Any, tmp_path: Path) -> None:
    table, readme = load("table"), tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        table.write("new", readme)
        expected = f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
        assert readme.read_text(encoding="utf-8") == expected
    readme.write_text("no marks", encoding="utf-8")
    with pytest.raises(SystemExit, match="lacks the lines"):
        table.write("new", readme)
    real = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert real.count(table.BEGIN) == real.count(table.END) == 1


def test_every_script_of_the_table_writes_claims(load: Any) -> None:
    for script in load("table").SCRIPTS:
        text = (FOLDER / script).read_text(encoding="utf-8")
        assert '"--json"' in text
        assert "record(" in text


def test_peers_are_those_of_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = ["numpy>=1", 'ruff>=0.9; extra == "test"', 'vesin==0.6.2; extra == "bench"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: declared)
    monkeypatch.syspath_prepend(str(FOLDER))
    importlib.reload(importlib.import_module("peers"))
    assert capsys.readouterr().out.split()[-1] == "vesin==0.6.2"


@pytest.mark.parametrize("n", [1, 2, 5, 8, 13])
def test_fewer_chains_have_the_relatives_that_they_would_have_had(load: Any, n: int) -> None:
    random = RandomStart(Priors.fit(from_atoms([bulk("Cu"), bulk("Si")] * 2), n_steps=50))
    salts = [bulk(f, "rocksalt", a=5.0) for f in ("NaCl", "LiF", "KBr")]
    library = build_library(from_atoms(salts * 3), n_fit=0)
    start = WithRelated(random, library, range(1, 60), 0.5)

    def drawn(count: int) -> list[tuple[str, list[int] | None]]:
        made = start.generate([11, 17], count, np.random.default_rng(0))
        return [(s.kind, None if s.instead is None else s.instead.tolist()) for s in made]

    row = {"samples": [{"start": kind, "is": instead} for kind, instead in drawn(20)]}
    some = load("first_chains").chains(row, n, 20)
    assert [(one["start"], one["is"]) for one in some] == drawn(n)
