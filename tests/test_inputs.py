"""Input folders of DFT codes are read back by ASE and pymatgen as the same crystal."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io.espresso import read_fortran_namelist
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from ase_continuousp.io import from_atoms, write_atoms
from ase_continuousp.io.inputs import k_points, write_espresso_input, write_vasp_input
from ase_continuousp.search.dedupe import equivalence_classes
from tests.systems import perovskite, rutile


def same(one: Atoms, other: Atoms) -> bool:
    """Return whether two crystals are the same, by StructureMatcher."""
    return equivalence_classes([from_atoms(one), from_atoms(other)], [0.0, 0.0]) == [[0, 1]]


@pytest.mark.parametrize("atoms", [perovskite(), rutile()], ids=str)
def test_vasp(atoms: Atoms, tmp_path: Path) -> None:
    write_vasp_input(tmp_path / "new", atoms)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"]
    again = ase.io.read(tmp_path / "new" / "POSCAR", format="vasp")
    assert same(atoms, again)
    poscar = Poscar.from_file(tmp_path / "new" / "POSCAR")
    named = (tmp_path / "new" / "POTCAR.spec").read_text().split()
    assert [name.split("_")[0] for name in named] == poscar.site_symbols
    assert Incar.from_file(tmp_path / "new" / "INCAR")["ISIF"] == 3  # cell and positions move
    assert np.prod(Kpoints.from_file(tmp_path / "new" / "KPOINTS").kpts[0]) > 1


def test_each_element_is_named_once(tmp_path: Path) -> None:
    mixed = perovskite()[[2, 0, 3, 1, 4]].repeat((1, 1, 2))  # O Sr O Ti O, twice
    write_vasp_input(tmp_path, mixed)
    poscar = (tmp_path / "POSCAR").read_text().splitlines()
    assert sorted(poscar[5].split()) == ["O", "Sr", "Ti"]
    assert dict(zip(poscar[5].split(), poscar[6].split(), strict=True)) == {
        "Sr": "2", "Ti": "2", "O": "6"
    }  # fmt: skip
    assert same(mixed, ase.io.read(tmp_path / "POSCAR", format="vasp"))


def test_other_input_sets(tmp_path: Path) -> None:
    write_vasp_input(tmp_path, bulk("Si"), input_set="MPStaticSet")
    assert Incar.from_file(tmp_path / "INCAR")["NSW"] == 0
    for wrong in ("Nothing", "Path", "np"):
        with pytest.raises(ValueError, match="input_set must be a class"):
            write_vasp_input(tmp_path, bulk("Si"), input_set=wrong)


def test_espresso(tmp_path: Path) -> None:
    potentials = tmp_path / "upf"
    potentials.mkdir()
    for name in ("Ti.pbe.UPF", "O_pbe.upf", "Os.pbe.UPF", "notes.txt"):
        (potentials / name).touch()
    write_espresso_input(tmp_path / "run", rutile(), pseudopotentials=potentials)
    file = tmp_path / "run" / "espresso.pwi"
    again = ase.io.read(file, format="espresso-in")
    np.testing.assert_allclose(again.cell.array, rutile().cell.array, atol=1e-8)
    np.testing.assert_allclose(again.positions, rutile().positions, atol=1e-8)
    text = file.read_text()
    assert "Ti.pbe.UPF" in text
    assert "O_pbe.upf" in text
    with file.open() as stream:
        namelists, _ = read_fortran_namelist(stream)
    assert namelists["control"]["calculation"] == "vc-relax"
    assert namelists["control"]["pseudo_dir"] == str(potentials)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["espresso.pwi"]


def test_pseudopotentials_that_are_missing_or_many_are_named(tmp_path: Path) -> None:
    (tmp_path / "Ti.a.UPF").touch()
    with pytest.raises(ValueError, match="holds 0 files for O"):
        write_espresso_input(tmp_path / "run", rutile(), pseudopotentials=tmp_path)
    for name in ("O.a.UPF", "O.b.UPF"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"2 files for O, O\.a\.UPF, O\.b\.UPF: name one"):
        write_espresso_input(tmp_path / "run", rutile(), pseudopotentials=tmp_path)
    with pytest.raises(ValueError, match="must name a file for O"):
        write_espresso_input(tmp_path / "run", rutile(), pseudopotentials={"Ti": "Ti.UPF"})
    with pytest.raises(ValueError, match="spacing must be positive"):
        write_espresso_input(tmp_path / "run", rutile(), spacing=0.0)
    assert not (tmp_path / "run").exists()


def test_k_points_are_as_dense_as_asked() -> None:
    for atoms in (perovskite(), rutile(), bulk("Cu")):
        lengths = 2 * np.pi / np.array([1 / np.linalg.norm(b) for b in atoms.cell.reciprocal()])
        n = np.array(k_points(atoms, 0.3))
        assert (lengths / n <= 0.3 + 1e-9).all()
        assert (lengths / (n - 1 + 1e-12) > 0.3)[n > 1].all()


def test_the_verb_writes_a_folder_for_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from ase_continuousp.cli.main import main

    monkeypatch.chdir(tmp_path)
    write_atoms("found.extxyz", [rutile(), perovskite(), bulk("Si")])

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ase-continuousp", "inputs", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert run("found.extxyz", "--code", "vasp", "-o", "v", "--top", "2") == 0
    assert capsys.readouterr().out.split() == ["v/01-Ti2O4", "v/02-SrTiO3"]
    assert run("found.extxyz", "--code", "espresso", "-o", "q") == 0
    assert Path("q/01-Ti2O4/espresso.pwi").is_file()
    assert run("found.extxyz", "--code", "abinit", "-o", "a") == 2
    assert "must be vasp or espresso" in capsys.readouterr().err
    assert not Path("a").exists()
