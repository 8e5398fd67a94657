"""Rates against hand counts, and evaluations that do not depend on how they are computed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.evaluation import evaluate as evaluate_module
from ase_continuousp.evaluation.evaluate import evaluate
from ase_continuousp.evaluation.report import Report, Row
from ase_continuousp.evaluation.tasks import Task, judge
from ase_continuousp.io import from_atoms, write_atoms
from ase_continuousp.sampling.annealing import AnnealSettings
from ase_continuousp.search.jobs import Job
from ase_continuousp.search.plausible import LeastOdds
from ase_continuousp.search.rank import EnergyRanking
from ase_continuousp.search.refine import Refined
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors
from tests.systems import perovskite, rattled, rutile
from tests.tiny_model import save_tiny_model

KEYS = {
    *("n", "k", "start", "chains", "match_rate", "strict_rate", "rmse", "top1_match_rate"),
    *("seconds", "model", "data", "seed", "per_structure"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"n_steps": 3, "quench_steps": 3}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "test.extxyz"
    salt = bulk("NaCl", "rocksalt", a=5.64)
    write_atoms(path, [perovskite(), salt, rutile(), perovskite("Ba"), bulk("Cu")])
    return path


def row(rms: float | None, top1: float | None = None, **other: object) -> Row:
    values = {"spacegroup": 1, "true_spacegroup": 1, "top1_start": "random"}
    return Row(0, "NaCl", 2, rms, top1, top1_energy=0.0, n_samples=1, **(values | other))  # type: ignore[arg-type]


def report(*rows: Row) -> Report:
    return Report(20, "mixed", 2, 1.5, "tiny", "data.csv", 3, rows)


def test_rates_are_counts() -> None:
    found = report(row(0.1, 0.15), row(0.3), row(None), row(0.2, 0.25, spacegroup=2), row(None))
    assert found.n == 5
    assert found.match_rate == 3 / 5
    assert found.strict_rate == 1 / 5
    assert found.rmse == pytest.approx(0.2)
    assert found.top1_match_rate == 2 / 5
    assert found.top1_strict_rate == 1 / 5
    assert found.spacegroup_rate == 1 / 5
    assert found.standard_error["match_rate"] == pytest.approx(math.sqrt(0.6 * 0.4 / 5))
    assert found.standard_error["rmse"] == pytest.approx(0.1 / math.sqrt(3))
    assert found.standard_error["top1_rmse"] == pytest.approx(0.05)


def test_nothing_matched_is_no_distance() -> None:
    found = report(row(None))
    assert (found.match_rate, found.rmse, found.standard_error["rmse"]) == (0.0, None, None)
    assert "RMSE              -" in found.summary()


def test_controls_are_counted_apart() -> None:
    rows = [row(None, controls={"random": 0.4}), row(None, controls={"random": None})]
    found = report(*rows, row(None, controls={"random": 0.1, "prototype": None}))
    assert found.controls == {
        "prototype": {"match_rate": 0.0, "strict_rate": 0.0, "rmse": None},
        "random": {"match_rate": 2 / 3, "strict_rate": 1 / 3, "rmse": 0.25},
    }
    assert "control random: match_rate 0.667" in found.summary()


def test_report_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    report(row(0.1, 0.1)).save(path)
    before = path.read_text()
    assert set(json.loads(before)) >= KEYS

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        report(row(None)).save(path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_judge_takes_the_best_chain_the_best_sample_and_the_first(model: Path) -> None:
    truth = from_atoms(perovskite())
    shifted = rattled(perovskite(), 0.05)

    def end(atoms: object, energy: float) -> Refined:
        crystal = from_atoms(atoms)  # type: ignore[arg-type]
        start = StartCrystal(crystal, "random")
        n = crystal.n_atoms
        return Refined(
            crystal, energy, np.zeros((n, 3)), np.zeros((3, 3)), True, start, np.zeros(1)
        )

    wrong = perovskite()
    wrong.numbers[:2] = wrong.numbers[[1, 0]]
    ends = [
        end(perovskite(), -1.0),  # sample 0: right, but its other chain is lower
        end(shifted, -2.0),  # sample 1: nearly right
        end(wrong, -5.0),  # sample 0: wrong, and lowest of all
        end(wrong, -1.5),  # sample 1
        end(perovskite(length=9.0), -99.0),  # sample 2: out of bounds
    ]
    job = Job("", "cpu", tuple(one.start for one in ends), AnnealSettings(), (0,))
    controls = ({"random": truth},)
    ranking = EnergyRanking(), LeastOdds()
    task = Task((7,), truth, job, (0,) * 5, (0, 1, 0, 1, 2), controls, *ranking)
    [made] = judge(task, ends, Priors.load(model / "priors.json"))
    assert (made.index, made.n_samples) == (7, 2)
    assert made.top1_rms is None
    assert made.top1_energy == -1.0  # of five atoms
    assert 0.001 < made.rms < 0.05  # type: ignore[operator]
    assert made.true_spacegroup == 221
    assert made.controls["random"] == pytest.approx(0.0, abs=1e-9)


def test_evaluation_does_not_depend_on_processes(model: Path, data: Path) -> None:
    arguments = {"k": 2, "n_chains": 2, "limit": 4, "seed": 5}
    one, two = (evaluate(model, data, processes=p, **arguments) for p in (1, 2))
    assert one.per_structure == two.per_structure
    assert (one.n, one.k, one.chains, one.start) == (4, 2, 2, "random")
    assert all(r.n_samples <= 2 and set(r.controls) == {"random"} for r in one.per_structure)


def test_limit_takes_the_first_after_a_shuffle(model: Path, data: Path) -> None:
    rows = [r.index for r in evaluate(model, data, limit=3, processes=1).per_structure]
    assert rows == np.random.default_rng(0).permutation(5)[:3].tolist()
    everything = evaluate(model, data, processes=1, controls=False)
    assert sorted(r.index for r in everything.per_structure) == [0, 1, 2, 3, 4]
    assert everything.controls == {}


def test_interrupted_evaluation_goes_on_from_its_journal(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"k": 2, "processes": 1, "n_steps": 2}
    monkeypatch.setattr(evaluate_module, "_CPU_BATCH", 2)  # a task for each crystal
    straight = evaluate(model, data, **options)
    judged = evaluate_module.sample_and_judge
    calls = []

    def killed(task: Task, priors: Priors) -> list[Row]:
        if calls:
            raise KeyboardInterrupt
        calls.append(task)
        return judged(task, priors)

    journal = tmp_path / "journal"
    monkeypatch.setattr(evaluate_module, "sample_and_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, data, **options, journal=journal)
    with journal.open("a") as stream:  # as a killed writer leaves it
        stream.write('{"index": 1, "form')

    def counted(task: Task, priors: Priors) -> list[Row]:
        calls.append(task)
        return judged(task, priors)

    monkeypatch.setattr(evaluate_module, "sample_and_judge", counted)
    resumed = evaluate(model, data, **options, journal=journal)
    assert resumed.per_structure == straight.per_structure
    assert len(calls) == straight.n > 1  # nothing twice
    with pytest.raises(ValueError, match="belongs to another evaluation"):
        evaluate(model, data, **options | {"k": 1}, journal=journal)


def test_crystals_of_unknown_elements_count_as_not_found(model: Path) -> None:
    found = evaluate(model, [bulk("W"), bulk("Cu")], processes=1)
    by_formula = {r.formula: r for r in found.per_structure}
    assert by_formula["W"].n_samples == 0
    assert by_formula["W"].rms is None
    assert by_formula["W"].true_spacegroup == 229
    assert by_formula["Cu"].n_samples == 1


@pytest.mark.parametrize("name", ["k", "n_chains", "processes", "limit"])
def test_counts_must_be_positive(model: Path, data: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1: 0"):
        evaluate(model, data, **{name: 0})
    with pytest.raises(TypeError, match=f"{name} must be a whole number"):
        evaluate(model, data, **{name: 0.5})


def test_bad_data_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        evaluate(model, tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="at least one structure"):
        evaluate(model, [])
    with pytest.raises(ValueError, match="start must be one of"):
        evaluate(model, [bulk("Cu")], start="guess")
