"""Every verb in this process, on a model that takes no training; bad input ends in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import Trajectory, read, write

from ase_continuousp import Candidate, ContinuouSPCalculator, __version__, list_models, load_model
from ase_continuousp.cli import main as command_line
from ase_continuousp.io import from_atoms, read_atoms
from ase_continuousp.search.symmetry import spacegroup
from tests.cif_text import SITES, cubic
from tests.systems import perovskite, rattled
from tests.tiny_model import save_tiny_model

FORMATS = ["cif", "extxyz", "traj", "db"]
DISORDERED = "data_alloy" + cubic(3.6) + SITES + "Cu1 Cu 0 0 0 0.5\n Ni1 Ni 0 0 0 0.5\n"


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("ships") / "tiny"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["ase-continuousp", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two crystals in a trajectory."""
    path = tmp_path / "given.traj"
    write(path, [rattled(perovskite(), 0.1), rattled(bulk("NaCl", "rocksalt", a=5.6), 0.1)])
    return path


def files() -> list[str]:
    return sorted(p.name for p in Path.cwd().iterdir())


# Help


@pytest.mark.parametrize(
    "verb",
    [
        "predict",
        "relax",
        "anneal",
        "train",
        "library",
        "judge",
        "calibrate",
        "evaluate",
        "models",
        "info",
        "inputs",
    ],
)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_has_help(run: Run, verb: str, flag: str) -> None:
    done = run(verb, flag)
    assert done.status == 0
    assert "Usage" in done.out
    assert done.err == ""


@pytest.mark.parametrize("arguments", [[], ["-h"]])
def test_the_verbs_are_listed(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.status == 0
    for verb in (
        "predict",
        "relax",
        "anneal",
        "train",
        "library",
        "judge",
        "evaluate",
        "models",
        "info",
    ):
        assert verb in done.out


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"ase-continuousp {__version__}\n", "")


def test_help_does_not_load_torch() -> None:
    code = """
import sys
from ase_continuousp.cli import main
sys.argv = ["ase-continuousp", "predict", "-h"]
try:
    main.main()
except SystemExit:
    print("torch" in sys.modules, "numba" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False False"


# Verbs


def test_info(run: Run) -> None:
    done = run("info")
    assert done.status == 0
    for word in ("ase-continuousp", "torch", "numba", "CUDA devices", "threads", "models"):
        assert word in done.out


def test_models(run: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_continuousp.pretrained._FOLDER", Path(model).parent)
    done = run("models")
    assert done.status == 0
    assert done.out.startswith(f"{Path(model).name}: ")
    assert "data licence not stated" in done.out


def test_models_shows_what_was_measured(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "data": "a/test",
        "start": "random",
        "chains": 1,
        "k": 1,
        "n": 9,
        "match_rate": 0.5,
        "strict_rate": 0.25,
        "rmse": 0.125,
    }
    save_tiny_model(tmp_path / "ships" / "one", priors=False, measured=[row])
    monkeypatch.setattr("ase_continuousp.pretrained._FOLDER", tmp_path / "ships")
    assert "match 0.500, strict 0.250, RMSE 0.125 (n 9)" in run("models").out


@pytest.mark.skipif(not list_models(), reason="no model ships yet")
def test_shipped_models_are_listed(run: Run) -> None:
    out = run("models").out
    for name in list_models():
        assert f"{name}: {len(load_model(name).elements)} elements" in out


@pytest.mark.parametrize("kind", FORMATS)
def test_relax_writes_every_format(run: Run, model: str, source: Path, kind: str) -> None:
    done = run("relax", source, "-o", f"out.{kind}", "--model", model, "--steps", 2)
    assert done.status == 0, done.err
    assert f"of 2 converged to fmax 0.05 within 2 steps: out.{kind}" in done.out
    assert files() == [f"out.{kind}"]
    found = read_atoms(f"out.{kind}")
    assert [sorted(a.symbols) for a in found] == [sorted(a.symbols) for a in read(source, ":")]
    if kind != "cif":
        assert all(np.isfinite(a.get_potential_energy()) for a in found)
        assert found[0].get_forces().shape == (5, 3)


def test_relax_keeps_the_cell_if_asked(run: Run, model: str, source: Path) -> None:
    options = ("--model", model, "--steps", 4, "--fmax", 1e-6)
    run("relax", source, "-o", "a.traj", *options, "--fix-cell")
    run("relax", source, "-o", "b.traj", *options)
    given = read(source, 0)
    fixed, free = read("a.traj", 0), read("b.traj", 0)
    np.testing.assert_array_equal(fixed.cell, given.cell)
    assert np.abs(free.cell - given.cell).max() > 1e-4
    assert np.abs(fixed.positions - given.positions).max() > 1e-4
    assert fixed.get_potential_energy() < energy_of(given, model)


def energy_of(atoms: Atoms, model: str) -> float:
    return float(ContinuouSPCalculator(model).get_potential_energy(atoms))


def test_relax_keeps_symmetry_and_constraints(run: Run, model: str) -> None:
    atoms = perovskite()
    atoms.set_cell(atoms.cell.array * [1.0, 1.0, 1.05], scale_atoms=True)
    atoms.set_constraint(FixAtoms([0]))
    atoms.write("given.traj")
    options = ("--model", model, "--steps", 3, "--fmax", 1e-6, "--fix-symmetry")
    assert run("relax", "given.traj", "-o", "out.traj", *options).status == 0
    found = read("out.traj")
    assert [type(c) for c in found.constraints] == [FixAtoms]
    lengths = found.cell.lengths()
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-6)
    assert found.cell.angles() == pytest.approx([90.0] * 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_anneal_writes_every_format(run: Run, model: str, source: Path, kind: str) -> None:
    done = run("anneal", source, "-o", f"out.{kind}", "--model", model, "--steps", 5)
    assert done.status == 0, done.err
    assert "lowest energy" in done.out
    assert "annealing" in done.err  # the progress bar
    assert "annealing" not in done.out
    assert files() == [f"out.{kind}"]
    assert len(read_atoms(f"out.{kind}")) == 1


def test_anneal_by_the_sampler_of_the_paper(run: Run, model: str, source: Path) -> None:
    options = ("--model", model, "--steps", 5, "--preset", "paper", "--trajectory", "run.traj")
    done = run("anneal", source, "-o", "out.traj", *options)
    assert done.status == 0, done.err
    assert "lowest energy" in done.out
    described = Trajectory("run.traj").description
    assert (described["preset"], described["n_steps"]) == ("paper", 5)


def test_anneal_keeps_the_space_group(run: Run, model: str) -> None:
    given = perovskite()
    given.set_cell([3.9, 3.9, 4.3], scale_atoms=True)
    given.positions[2:, 2] += 0.3
    given.positions[1, 2] += 0.1
    write("given.extxyz", given)
    options = ("--model", model, "--steps", 5, "--fix-symmetry")
    done = run("anneal", "given.extxyz", "-o", "out.extxyz", *options)
    assert done.status == 0, done.err
    [found] = read_atoms("out.extxyz")
    assert spacegroup(from_atoms(found), 1e-5)[1] == spacegroup(from_atoms(given), 1e-5)[1] == 99
    assert not np.allclose(found.cell.array, given.cell.array, atol=1e-6)


def test_anneal_cut_in_two_equals_one(run: Run, model: str, source: Path) -> None:
    options = ("--model", model, "--seed", 3, "--fix-cell", "--steps", 8)
    run("anneal", source, "-o", "one.traj", *options)
    for _ in range(2):
        done = run(
            *("anneal", source, "-o", "two.traj", *options),
            *("--restart", "state.json", "--trajectory", "run.traj"),
        )
        assert done.status == 0, done.err
    assert len(read("run.traj", ":")) == 9
    np.testing.assert_array_equal(read("one.traj").positions, read("two.traj").positions)
    foreign = run("anneal", source, "-o", "x.cif", *options[:-1], 9, "--restart", "state.json")
    assert foreign.status == 2
    assert "n_steps=8, not 9" in foreign.err


PREDICT = ("predict", "NaCl", "--units", "1", "-n", 2, "--start", "random")


def test_predict_writes_all_it_promises(run: Run, model: str) -> None:
    pytest.importorskip("matplotlib")
    extra = ("-o", "out.db", "--json", "out.json", "--html", "out.html")
    done = run(*PREDICT, "--model", model, *extra)
    assert done.status == 0, done.err
    table = done.out.splitlines()
    assert table[0].startswith("rank  formula  Z  space group")
    assert "%|" in done.err
    assert "%|" not in done.out
    assert files() == sorted(["out.db", "out.html", "out.json"])
    found = read_atoms("out.db")
    rows = json.loads(Path("out.json").read_text())["candidates"]
    assert len(found) == len(rows) == len(table) - 1
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for atoms, row in zip(found, rows, strict=True):
        assert sorted(atoms.numbers) == sorted(row["numbers"])
        assert atoms.get_volume() == pytest.approx(abs(np.linalg.det(row["cell"])), rel=1e-4)
    page = Path("out.html").read_text()
    assert page.count("data-candidate='") == len(rows)


@pytest.mark.parametrize("kind", FORMATS)
def test_predict_writes_every_format(
    run: Run, model: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Candidate(bulk(x, crystalstructure="fcc", a=4.0), e, ("Fm-3m", 225), 1, 1, True, False)
        for e, x in enumerate(("Cu", "Ni", "Al"))
    ]
    monkeypatch.setattr("ase_continuousp.search.predict.predict", lambda *_, **__: found)
    done = run(*PREDICT, "--model", model, "-o", f"out.{kind}")
    assert done.status == 0, done.err
    assert [str(a.symbols) for a in read_atoms(f"out.{kind}")] == ["Cu", "Ni", "Al"]
    assert files() == [f"out.{kind}"]


def test_predict_refines_within_bounds(run: Run, model: str) -> None:
    extra = ("--volume", "8,30", "--refine", "ase.calculators.lj:LennardJones", "--top", 1)
    done = run(*PREDICT, "--model", model, *extra, "--json", "out.json")
    assert done.status == 0, done.err
    assert "LennardJones" in done.out.splitlines()[0]
    rows = json.loads(Path("out.json").read_text())["candidates"]
    assert sum(row["second"] is not None for row in rows) <= 1
    assert set(rows[0]) >= {"volume_outlier", "clash", "converged"}


def test_a_mixed_search_without_a_library_says_so(run: Run, model: str) -> None:
    for start, told in (("mixed", True), ("random", False)):
        done = run("predict", "NaCl", "--model", model, "-n", 2, "--units", "1", "--start", start)
        assert done.status == 0, done.err
        assert ("has no library of prototypes" in done.err) == told


def test_predict_takes_a_list_and_goes_on(run: Run, model: str) -> None:
    Path("list.txt").write_text("NaCl # salt\nCuO\nUO2\n")
    options = ("predict", "--formulas", "list.txt", "-o", "out.db", "--model", model)
    small = ("-n", 2, "--start", "random", "--units", "1", "--processes", 1)
    done = run(*options, *small)
    assert done.status == 0, done.err
    assert done.out == "2 formulas done, 1 refused, 0 done before, 0 lost: out.db\n"
    assert "refused: UO2: element U is not supported by model" in done.err
    assert "%|" in done.err
    assert (
        run(*options, *small).out == "0 formulas done, 0 refused, 3 done before, 0 lost: out.db\n"
    )
    assert files() == ["list.txt", "out.db"]


def test_predict_repeats_itself(run: Run, model: str) -> None:
    outputs = [run(*PREDICT, "--model", model, "--seed", seed).out for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_evaluate_writes_a_report(run: Run, model: str) -> None:
    write(
        "data.extxyz",
        [
            bulk("NaCl", "rocksalt", a=5.6),
            bulk("Cu"),
            bulk("NaCl", a=5.5, crystalstructure="zincblende"),
        ],
    )
    options = ("--limit", 2, "--seed", 1, "-k", 1, "--processes", 1)
    done = run("evaluate", "--model", model, "--data", "data.extxyz", *options, "--json", "r.json")
    assert done.status == 0, done.err
    report = json.loads(Path("r.json").read_text())
    promised = """n k start chains match_rate strict_rate rmse top1_match_rate seconds model data
    seed per_structure"""
    assert set(promised.split()) <= set(report)
    assert sorted(path.name for path in Path().iterdir()) == ["data.extxyz", "r.json"]
    assert (report["n"], report["k"], report["start"], report["chains"]) == (2, 1, "random", 1)
    assert 0.0 <= report["match_rate"] <= 1.0
    assert "match" in done.out


def test_train_writes_a_model_that_resumes(run: Run) -> None:
    write("data.extxyz", [bulk("NaCl", "rocksalt", a=a) for a in (5.5, 5.6, 5.7)])
    options = ("train", "--data", "data.extxyz", "--preset", "perov5", "--out", "trained")
    few = ("--steps", 2, "--batch-size", 2)
    done = run(*options, *few)
    assert done.status == 0, done.err
    assert load_model("trained").elements == (11, 17)
    again = run(*options, *few)
    assert again.status == 2
    assert "already holds a run" in again.err
    assert run(*options, *few, "--resume").status == 0


# Bad input


def test_train_leaves_out_bad_rows_or_refuses_them(run: Run) -> None:
    write("data.extxyz", [bulk("NaCl", "rocksalt", a=a) for a in (5.5, 5.7)])
    with Path("data.extxyz").open("a") as stream:
        stream.write("1\nno cell\nNa 0 0 0\n")
    options = ("train", "--data", "data.extxyz", "--preset", "perov5", "--steps", 1)
    done = run(*options, "--out", "strict", "--strict")
    assert done.status == 2
    assert "1 of 3 rows are bad, listed in strict/bad_rows.csv; the first in" in done.err
    assert run(*options, "--out", "made").status == 0
    assert "periodic" in Path("made/bad_rows.csv").read_text()
    done = run(*options, "--out", "many", "--devices", 0)
    assert (done.status, "devices must be at least 1: 0" in done.err) == (2, True)


def write_bad_files() -> None:
    Path("alloy.cif").write_text(DISORDERED)
    Path("noise.cif").write_text("no crystal here")
    Path("noise.db").write_bytes(b"\x00\xff" * 50)
    Path("empty.extxyz").write_text("")
    Path("text.csv").write_text("a,b\n1,2\n")
    write("uranium.extxyz", bulk("U", "bcc", a=3.4))
    write("slab.extxyz", Atoms("Cu", cell=[3, 3, 10], pbc=[True, True, False]))
    write("flat.traj", Atoms("Cu", cell=[3, 3, 0], pbc=True))
    write("good.extxyz", [bulk("Cu"), bulk("Ni")])
    write("second.extxyz", [bulk("Cu"), bulk("U", "bcc", a=3.4)])
    Path("folder.cif").mkdir()
    Path("nomodel").mkdir()


RELAX = ("relax", "good.extxyz", "-o", "out.db")
METRICS = ("evaluate", "--data", "good.extxyz", "--metrics", "--reference", "good.extxyz")
BAD = {
    "no such verb": (("guess",), "No such command"),
    "no such option": (("info", "--fast"), "No such option"),
    "missing argument": (("relax", "-o", "out.cif"), "Missing argument"),
    "no formula given": (("predict",), "predict takes a formula or --formulas FILE"),
    "two formulas": (("predict", "NaCl", "--formulas", "text.csv"), "and not both"),
    "bad list": (("predict", "--formulas", "text.csv", "-o", "a.db"), "line 1 of text.csv"),
    "no list": (
        ("predict", "--formulas", "none.txt", "-o", "a.db"),
        "formulas must be an existing fi",
    ),
    "list is folder": (
        ("predict", "--formulas", "folder.cif", "-o", "a.db"),
        "formulas must be an existing file: folder.cif",
    ),
    "list without output": (("predict", "--formulas", "text.csv"), "--formulas needs -o FILE.db"),
    "list to CIF": (("predict", "--formulas", "text.csv", "-o", "a.cif"), "must be FILE.db"),
    "scheduler alone": (("predict", "NaCl", "--scheduler", "x:1"), "--scheduler is for --formulas"),
    "entries alone": (("predict", "NaCl", "--entries", "text.csv"), "--entries needs --refine"),
    "bad entries": (
        ("predict", "NaCl", "--refine", "ase.calculators.emt:EMT", "--entries", "text.csv"),
        "entries must be a JSON list of pymatgen entries",
    ),
    "no entries": (
        ("predict", "NaCl", "--refine", "ase.calculators.emt:EMT", "--entries", "none.json"),
        "entries must be a file that can be read: none.json",
    ),
    "refine": (("predict", "NaCl", "--refine", "vasp"), "refine must be chgnet or an import path"),
    "refine import": (("predict", "NaCl", "--refine", "no_such:Thing"), "cannot be imported"),
    "lengths": (("predict", "NaCl", "--lengths", "3"), "--lengths must be two numbers such as 3,8"),
    "angles": (("predict", "NaCl", "--angles", "120,60"), "angles must be positive and in asc"),
    "straight angle": (
        ("predict", "NaCl", "--angles", "60,180"),
        "angles must be less than 180 degrees: (60.0, 180.0)",
    ),
    "volume": (("predict", "NaCl", "--volume", "0,9"), "volume_per_atom must be positive"),
    "inputs code": (("inputs", "good.extxyz", "--code", "x", "-o", "a"), "must be vasp or espres"),
    "number expected": (("predict", "NaCl", "-n", "many"), "valid integer"),
    "missing option": (("relax", "good.extxyz"), "output"),
    "no such file": (("relax", "none.cif", "-o", "out.cif"), "none.cif"),
    "no CIF": (("relax", "noise.cif", "-o", "out.cif"), "noise.cif"),
    "no database": (("relax", "noise.db", "-o", "out.cif"), "noise.db"),
    "empty file": (("relax", "empty.extxyz", "-o", "out.cif"), "empty.extxyz"),
    "disordered": (("relax", "alloy.cif", "-o", "out.cif"), "partial occupancy"),
    "unknown element": (("relax", "uranium.extxyz", "-o", "out.cif"), "not trained on U; it supp"),
    "bad second": (("relax", "second.extxyz", "-o", "out.cif"), "structure 1 of second.extxyz"),
    "open direction": (("relax", "slab.extxyz", "-o", "out.cif"), "3-D periodic"),
    "no volume": (("relax", "flat.traj", "-o", "out.cif"), "volume > 0"),
    "unknown format": (("relax", "good.extxyz", "-o", "out.xyz2"), "--output must end in one of"),
    "no such folder": (("relax", "good.extxyz", "-o", "no/out.cif"), "existing folder"),
    "output is folder": (("relax", "good.extxyz", "-o", "folder.cif"), "must not be a folder"),
    "fmax": ((*RELAX, "--fmax", 0), "fmax must be positive: 0.0"),
    "steps": ((*RELAX, "--steps", -1), "steps must not be negative"),
    "anneal steps": (("anneal", "good.extxyz", "-o", "a.db", "--steps", 0), "n_steps"),
    "anneal preset": (("anneal", "good.extxyz", "-o", "a.db", "--preset", "x"), "preset must be"),
    "anneal preset cell": (
        ("anneal", "good.extxyz", "-o", "a.db", "--preset", "paper", "--fix-cell"),
        "preset='paper' moves the cell",
    ),
    "anneal device": (
        ("anneal", "good.extxyz", "-o", "a.db", "--device", "tpu"),
        "device must be 'auto' or a torch device such as 'cpu': 'tpu'",
    ),
    "anneal element": (("anneal", "uranium.extxyz", "-o", "a.db"), "not trained on U"),
    "anneal folder": (
        ("anneal", "good.extxyz", "-o", "a.db", "--trajectory", "no/a.traj"),
        "--trajectory must lie in an existing folder: no/a.traj",
    ),
    "trajectory is folder": (
        ("anneal", "good.extxyz", "-o", "a.db", "--trajectory", "folder.cif"),
        "--trajectory must not be a folder: folder.cif",
    ),
    "restart is folder": (
        ("anneal", "good.extxyz", "-o", "a.db", "--restart", "folder.cif"),
        "--restart must not be a folder: folder.cif",
    ),
    "inputs into file": (
        ("inputs", "good.extxyz", "--code", "vasp", "-o", "text.csv"),
        "--output must be a folder: text.csv",
    ),
    "pseudopotentials": (
        ("inputs", "good.extxyz", "--code", "espresso", "-o", "a", "--pseudopotentials", "none"),
        "pseudopotentials must be an existing folder: none",
    ),
    "no formula": (("predict", "Xx3"), "Xx"),
    "empty formula": (("predict", ""), "formula"),
    "formula element": (("predict", "UO2"), "U"),
    "units": (("predict", "NaCl", "--units", "1,x"), "positive whole numbers such as 1,2,4"),
    "zero units": (("predict", "NaCl", "--units", "0"), "positive whole numbers"),
    "samples": (("predict", "NaCl", "-n", 0), "n_samples must be at least 1: 0"),
    "start": (("predict", "NaCl", "--start", "warm"), "start must be one of random"),
    "no library": (("predict", "NaCl", "--start", "prototype"), "prototype library"),
    "space group": (
        ("predict", "NaCl", "--spacegroup", "Q4"),
        "spacegroup must be a number from 1 to 230 or a Hermann-Mauguin symbol: 'Q4'",
    ),
    "space group number": (("predict", "NaCl", "--spacegroup", 231), "from 1 to 230: 231"),
    "predict device": (("predict", "NaCl", "--device", "tpu"), "device must be 'auto' or"),
    "seed": (("predict", "NaCl", "--seed", -1), "seed must not be negative"),
    "predict format": (("predict", "NaCl", "-o", "out.pdf"), "must end in one of"),
    "json folder": (("predict", "NaCl", "--json", "no/a.json"), "--json must lie in an existing"),
    "html is folder": (("predict", "NaCl", "--html", "folder.cif"), "--html must not be a folder"),
    "evaluate data": (("evaluate", "--data", "none.csv"), "none.csv"),
    "evaluate no cif": (("evaluate", "--data", "text.csv"), "cif"),
    "evaluate k": (("evaluate", "--data", "good.extxyz", "-k", 0), "k must be at least 1"),
    "reference alone": (
        ("evaluate", "--data", "good.extxyz", "--reference", "good.extxyz"),
        "--reference must come with --metrics",
    ),
    "phases alone": (
        ("evaluate", "--data", "good.extxyz", "--metrics", "--phases", "good.extxyz"),
        "--phases must come with --energies",
    ),
    "energies alone": (
        ("evaluate", "--data", "good.extxyz", "--metrics", "--energies", "a:b"),
        "--energies must come with --phases or --reference",
    ),
    "energies import": (
        (*METRICS, "--energies", "no_such:Thing"),
        "calculator 'no_such:Thing' cannot be imported",
    ),
    "no reference": (
        ("evaluate", "--data", "good.extxyz", "--metrics", "--reference", "none.csv"),
        "none.csv",
    ),
    "cutoffs": ((*METRICS, "--cutoffs", "x"), "--cutoffs must be one of mp_20, perov_5"),
    "evaluate start": (("evaluate", "--data", "good.extxyz", "--start", "x"), "start must be"),
}
TRAIN = ("train", "--data", "good.extxyz", "--out", "made")
BAD_WITHOUT_MODEL = {
    "unknown model": (("predict", "NaCl", "--model", "mp21"), "no folder named 'mp21'; shipped"),
    "foreign folder": ((*RELAX, "--model", "nomodel"), "it must hold card.json"),
    "preset": ((*TRAIN, "--preset", "best"), "preset must be one of"),
    "precision": ((*TRAIN, "--precision", "int8"), "precision must be one of"),
    "objective": ((*TRAIN, "--objective", "luck"), "objective must be one of"),
    "train steps": ((*TRAIN, "--steps", 0), "steps must be at least 1"),
    "train data": (("train", "--data", "no.csv", "--out", "made"), "no.csv"),
    "nothing to resume": ((*TRAIN, "--resume"), "no run to resume"),
}


@pytest.mark.parametrize("case", [*BAD, *BAD_WITHOUT_MODEL])
def test_bad_input_ends_in_one_line_and_no_file(run: Run, model: str, case: str) -> None:
    write_bad_files()
    before = files()
    if case in BAD:
        arguments, message = BAD[case]
        takes_model = arguments[0] in ("relax", "anneal", "predict", "evaluate")
        done = run(*arguments, *(("--model", model) if takes_model else ()))
    else:
        arguments, message = BAD_WITHOUT_MODEL[case]
        done = run(*arguments)
    assert done.status == 2
    assert done.out == ""
    [line] = done.err.strip().splitlines()
    assert line.startswith("ase-continuousp: error: ")
    assert message in line
    assert files() == before


@pytest.mark.parametrize("option", ["-o", "--json", "--html"])
def test_folder_that_takes_no_file_is_said_before_the_search(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    # An administrator, whom no permission stops, runs tests too: the system's answer is replaced.
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    done = run(*PREDICT, "--model", model, option, "out.cif")
    assert (done.status, done.out, files()) == (2, "", [])
    [line] = done.err.strip().splitlines()
    name = "--output" if option == "-o" else option
    assert line.endswith(f"{name} must lie in a folder that can be written to: out.cif")


def test_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "ase_continuousp", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"ase-continuousp {__version__}\n"


def test_damaged_model_ends_in_one_line(run: Run, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "damaged", priors=False)
    (folder / "model.safetensors").write_bytes(b"\x80\x04K\x01.")
    done = run("relax", "x.cif", "-o", "y.cif", "--model", folder)
    assert done.status == 2
    write("x.cif", bulk("Cu"))
    done = run("relax", "x.cif", "-o", "y.cif", "--model", folder)
    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert "does not hold the weights of its card" in done.err


def test_missing_matplotlib_is_said_before_the_work(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ase_continuousp.plot.find_spec", lambda _: None)
    done = run(*PREDICT, "--model", model, "-o", "out.db", "--html", "out.html")
    assert done.status == 2
    assert "ase-continuousp[report]" in done.err
    assert files() == []


@pytest.mark.parametrize("place", [0, 3])
def test_debug_shows_the_traceback(run: Run, place: int) -> None:
    arguments = ["relax", "none.cif", "-o", "out.cif"]
    arguments.insert(place, "--debug")
    done = run(*arguments)
    assert done.status == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.err.strip().splitlines()[-1].startswith("ase-continuousp: error: ")


def test_faults_of_the_program_are_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr("ase_continuousp.pretrained.list_models", fail)
    with pytest.raises(ZeroDivisionError):
        run("models")


def test_interrupt_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("ase_continuousp.pretrained.list_models", interrupt)
    assert run("models") == (130, "", "ase-continuousp: error: interrupted\n")


def test_the_console_script_runs() -> None:
    script = Path(sys.executable).with_name("ase-continuousp")
    done = subprocess.run([script, "relax"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ase-continuousp: error: Missing argument")


def test_library_goes_into_the_model(run: Run, model: str) -> None:
    write("data.extxyz", [bulk("NaCl", "rocksalt", a=a) for a in (5.5, 5.7)])
    shutil.copytree(model, "own")
    done = run("library", "--model", "own", "--data", "data.extxyz", "--no-relax")
    assert done.status == 0, done.err
    assert done.out.startswith("prototypes: 1 in own")
    done = run("predict", "NaCl", "--model", "own", "--start", "prototype", "-n", 1)
    assert done.status == 0, done.err
