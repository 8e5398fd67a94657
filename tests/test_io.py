"""Conversions and files: the same structures, in the same order, in every format."""

from __future__ import annotations

import os
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import get_distances
from hypothesis import HealthCheck, given, settings
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from ase_continuousp import io
from ase_continuousp.crystals import Crystals
from tests import strategies
from tests.cif_text import SITES, cubic
from tests.systems import OTHER, PERIODIC, perovskite, rattled, supercell, system

FORMATS = ("cif", "extxyz", "traj", "db")
KEEPS_RESULTS = ("extxyz", "traj", "db")
# extxyz prints positions and forces with 8 decimals.
PRECISION = 1e-7

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_same_crystal(found: Atoms, expected: Atoms) -> None:
    """Compare atom by atom what does not depend on orientation: distances within the lattice."""
    assert found.numbers.tolist() == expected.numbers.tolist()
    assert found.pbc.all()
    assert found.get_volume() == pytest.approx(expected.get_volume(), rel=1e-7)
    if np.linalg.det(expected.cell.array) > 0:
        np.testing.assert_allclose(found.cell.cellpar(), expected.cell.cellpar(), rtol=1e-7)
    distances = [get_distances(a.positions, cell=a.cell, pbc=True)[1] for a in (found, expected)]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-6)


def several() -> list[Atoms]:
    """Return all crystals among the named systems."""
    return [system(name) for name in PERIODIC]


def with_results(atoms: Atoms, seed: int = 0) -> Atoms:
    """Return the atoms with invented results and information attached."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.info = {"label": f"run {seed} of two", "n_found": seed + 3, "clash": False, "tau": 0.25}
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=float(rng.normal()),
        free_energy=float(rng.normal()),
        forces=rng.normal(size=(len(atoms), 3)),
        stress=rng.normal(size=6),
        energies=rng.normal(size=len(atoms)),
    )
    return atoms


# Atoms and Structure


def test_atoms_to_crystals_and_back_is_exact() -> None:
    masters = several()
    crystals = io.from_atoms(masters)
    assert crystals.counts.tolist() == [len(a) for a in masters]
    for found, expected in zip(io.to_atoms(crystals), masters, strict=True):
        assert found == expected


@given(strategies.crystals())
def test_crystals_to_atoms_and_back_is_exact(crystals: Crystals) -> None:
    found = io.from_atoms(io.to_atoms(crystals))
    for name in ("positions", "cells", "numbers", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(crystals, name))


def test_crystals_do_not_share_memory_with_atoms() -> None:
    atoms = system("perovskite")
    crystals = io.from_atoms(atoms)
    [back] = io.to_atoms(crystals)
    atoms.positions += 1.0
    atoms.cell[0] *= 2.0
    back.positions -= 1.0
    back.cell[:] *= 3.0
    np.testing.assert_array_equal(crystals.positions, system("perovskite").positions)
    np.testing.assert_array_equal(crystals.cells[0], system("perovskite").cell.array)


@given(strategies.crystals())
def test_structures_and_back(crystals: Crystals) -> None:
    structures = io.to_structures(crystals)
    found = io.from_structures(structures)
    np.testing.assert_allclose(found.positions, crystals.positions, atol=1e-10)
    np.testing.assert_array_equal(found.cells, crystals.cells)
    np.testing.assert_array_equal(found.numbers, crystals.numbers)
    np.testing.assert_array_equal(found.offsets, crystals.offsets)


def test_structure_agrees_with_pymatgens_own_bridge() -> None:
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = system("skewed")
    [ours] = io.to_structures(io.from_atoms(atoms))
    assert ours == AseAtomsAdaptor.get_structure(atoms)


def test_oxidation_states_are_dropped() -> None:
    structure = Structure(Lattice.cubic(4.2), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert io.from_structures(structure).numbers.tolist() == [11, 17]


@pytest.mark.parametrize("name", OTHER)
def test_open_directions_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"atoms must have a full 3-D periodic cell.*pbc is \["):
        io.from_atoms(system(name))


def _with(**changes: object) -> Atoms:
    atoms = system("rock_salt")
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(cell=[3, 3, 3], pbc=True), "atoms must have at least one atom"),
        (Atoms("H", pbc=True), r"cell must have three independent vectors \(volume > 0\)"),
        (Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True), "volume > 0"),
        (_with(positions=[[0, 0, np.nan], [1, 1, 1]]), "positions must be finite: found nan"),
        (_with(cell=[3, 3, np.inf]), "cell must be finite: found inf"),
        (_with(numbers=[11, 0]), "elements, atomic numbers 1 to 118: got 0"),
        (_with(info={"occupancy": {"0": {"Na": 0.5, "K": 0.5}}}), "no partial occupancy"),
    ],
)
def test_what_is_no_crystal_is_refused(atoms: Atoms, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        io.from_atoms(atoms)
    with pytest.raises(ValueError, match=r"atoms\[1\].*" + message.removeprefix("atoms ")):
        io.from_atoms([bulk("Cu"), atoms])


def test_nothing_and_foreign_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one structure"):
        io.from_atoms([])
    with pytest.raises(TypeError, match=r"atoms\[0\] must be an ASE Atoms object: got str"):
        io.from_atoms(["NaCl"])
    with pytest.raises(TypeError, match=r"structures\[0\] must be a pymatgen Structure: got Atoms"):
        io.from_structures([bulk("Cu")])


def test_disordered_structure_is_refused() -> None:
    structure = Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match=r"structures\[0\] must be ordered"):
        io.from_structures([structure])


# Files


@pytest.mark.parametrize("ending", FORMATS)
def test_same_structures_in_same_order_in_every_format(ending: str, tmp_path: Path) -> None:
    masters = several()
    path = tmp_path / f"all.{ending}"
    io.write_atoms(path, masters)
    found = io.read_atoms(path)
    assert len(found) == len(masters)
    for one, expected in zip(found, masters, strict=True):
        assert_same_crystal(one, expected)
        if ending != "cif":
            np.testing.assert_allclose(one.positions, expected.positions, atol=PRECISION)
            np.testing.assert_allclose(one.cell.array, expected.cell.array, atol=PRECISION)


@in_one_folder
@given(strategies.atoms(min_distance=0.5))
def test_random_crystals_survive_cif(tmp_path: Path, atoms: Atoms) -> None:
    path = tmp_path / "one.cif"
    io.write_atoms(path, atoms)
    [found] = io.read_atoms(path)
    assert_same_crystal(found, atoms)


def test_cif_keeps_handedness(tmp_path: Path) -> None:
    # Four points in general position are told from their mirror image by a triple product,
    # which the comparison by distances cannot see.
    atoms = rattled(perovskite(), 0.15, seed=4)
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]], scale_atoms=False)
    assert np.linalg.det(left.cell.array) < 0
    io.write_atoms(tmp_path / "left.cif", left)
    [found] = io.read_atoms(tmp_path / "left.cif")

    def chirality(a: Atoms) -> float:
        vectors = a.get_distances(0, [1, 2, 3], mic=True, vector=True)
        return float(np.linalg.det(vectors))

    assert chirality(found) == pytest.approx(chirality(atoms), rel=1e-6)


def test_pymatgen_reads_our_cif(tmp_path: Path) -> None:
    io.write_atoms(tmp_path / "one.cif", system("rutile"))
    read = Structure.from_file(tmp_path / "one.cif")
    assert StructureMatcher().fit(read, io.to_structures(io.from_atoms(system("rutile")))[0])


@pytest.mark.parametrize("ending", KEEPS_RESULTS)
def test_results_and_information_are_kept(ending: str, tmp_path: Path) -> None:
    masters = [with_results(system("skewed"), 0), with_results(system("perovskite"), 1)]
    path = tmp_path / f"results.{ending}"
    io.write_atoms(path, masters)
    for found, expected in zip(io.read_atoms(path), masters, strict=True):
        assert found.info == expected.info
        assert {type(v) for v in found.info.values()} <= {str, int, float, bool}
        # ase.db has no column for energies of atoms.
        lost = {"energies"} if ending == "db" else set()
        assert set(found.calc.results) == set(expected.calc.results) - lost
        for name, value in found.calc.results.items():
            np.testing.assert_allclose(value, expected.calc.results[name], atol=PRECISION)


def test_db_key_value_pairs_can_be_searched_and_the_rest_is_kept(tmp_path: Path) -> None:
    atoms = system("rock_salt")
    atoms.info = {
        "start": "prototype",
        "rank": np.int64(1),
        "energy": -1.5,  # a reserved word of ase.db
        "digits": "225",  # a string that ase.db takes for a number
        "path": np.arange(3.0),
    }
    io.write_atoms(tmp_path / "one.db", atoms)
    [row] = ase.db.connect(tmp_path / "one.db").select(start="prototype", rank=1)
    assert row.key_value_pairs == {"start": "prototype", "rank": 1}
    [found] = io.read_atoms(tmp_path / "one.db")
    assert found.info["energy"] == -1.5
    assert found.info["digits"] == "225"
    np.testing.assert_array_equal(found.info["path"], np.arange(3.0))


@pytest.mark.parametrize("ending", FORMATS)
def test_index_selects(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"three.{ending}"
    io.write_atoms(path, [bulk("Cu"), bulk("Al"), bulk("Ni")])

    def names(index: int | str | slice) -> list[str]:
        return [str(a.symbols) for a in io.read_atoms(path, index)]

    assert names(":") == ["Cu", "Al", "Ni"]
    assert names(0) == names("0") == ["Cu"]
    assert names(-1) == ["Ni"]
    assert names("::2") == names(slice(None, None, 2)) == ["Cu", "Ni"]
    with pytest.raises(ValueError, match="index out of range"):
        names(3)
    with pytest.raises(ValueError, match=r"must hold a structure at index 5:.*3 held"):
        names("5:")
    with pytest.raises(ValueError, match="index must be a number or a slice"):
        names("Cu=1")


def test_other_formats_are_read(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "POSCAR", system("perovskite"), format="vasp", direct=True)
    [found] = io.read_atoms(tmp_path / "POSCAR")
    assert_same_crystal(found, system("perovskite"))


@pytest.mark.parametrize("ending", FORMATS)
def test_existing_file_is_replaced_whole(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"some.{ending}"
    io.write_atoms(path, [bulk("Cu"), bulk("Al")])
    io.write_atoms(str(path), bulk("Ni"))
    assert [str(a.symbols) for a in io.read_atoms(path)] == ["Ni"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("existing", [False, True])
def test_failed_write_changes_nothing(
    ending: str, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"some.{ending}"
    if existing:
        io.write_atoms(path, bulk("Cu"))
    before = path.read_bytes() if existing else None

    def no_space(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="no space left"):
        io.write_atoms(path, bulk("Al"))
    monkeypatch.undo()
    # Fails in the middle: the second structure cannot be written.
    broken = bulk("Al")
    del broken.arrays["positions"]
    with pytest.raises(KeyError, match="positions"):
        io.write_atoms(path, [bulk("Ni"), broken])

    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if existing else [])
    assert (path.read_bytes() if existing else None) == before


def test_link_keeps_pointing_at_its_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.cif").symlink_to(tmp_path / "real" / "one.cif")
    io.write_atoms(tmp_path / "link.cif", bulk("Cu"))
    assert (tmp_path / "link.cif").is_symlink()
    assert len(io.read_atoms(tmp_path / "real" / "one.cif")) == 1


@pytest.mark.parametrize("name", ["found.pdf", "found", "found.xyz.gz"])
def test_unknown_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must end in one of .cif, .extxyz, .traj, .db: got"):
        io.write_atoms(tmp_path / name, bulk("Cu"))
    assert not any(tmp_path.iterdir())


def test_missing_folder_and_folder_as_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        io.check_writable(tmp_path / "nowhere" / "found.cif")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(ValueError, match="path must not be a folder"):
        io.check_writable(tmp_path / "folder.db")


def test_writing_nothing_or_no_atoms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one structure"):
        io.write_atoms(tmp_path / "none.traj", [])
    with pytest.raises(TypeError, match=r"atoms\[1\] must be an ASE Atoms object: got NoneType"):
        io.write_atoms(tmp_path / "none.traj", [bulk("Cu"), None])
    assert not any(tmp_path.iterdir())


def test_cif_of_a_slab_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="full 3-D periodic cell"):
        io.write_atoms(tmp_path / "slab.cif", system("slab"))
    io.write_atoms(tmp_path / "slab.traj", system("slab"))
    assert io.read_atoms(tmp_path / "slab.traj")[0].pbc.tolist() == [True, True, False]


@pytest.mark.parametrize("name", ["x.cif", "x.extxyz", "x.traj", "x.db", "x.vasp"])
@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b"\x00\xff\x17" * 40])
def test_unreadable_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"path must (be a readable|hold a) structure"):
        io.read_atoms(tmp_path / name)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be an existing file"):
        io.read_atoms(tmp_path / "no.db")
    assert not any(tmp_path.iterdir())  # connecting to a database would create it


# CIF text

CELL = cubic(5.64)


def test_p1_keeps_order_and_coordinates() -> None:
    rows = "Cl1 Cl -0.25 0.5 1.75 1\n Na1 Na 0 0 0 1.0\n Cl2 Cl 0.1 0.2 0.3 ?\n"
    crystals = io.from_cif_text("data_x" + CELL + SITES + rows)
    assert crystals.numbers.tolist() == [17, 11, 17]
    np.testing.assert_allclose(
        crystals.fractional, [[-0.25, 0.5, 1.75], [0, 0, 0], [0.1, 0.2, 0.3]], atol=1e-12
    )


def test_symmetry_is_expanded() -> None:
    rows = "Na1 Na 0 0 0 1\n Cl1 Cl 0.5 0.5 0.5 1\n"
    header = "data_salt\n_space_group_name_H-M_alt 'F m -3 m'\n_space_group_IT_number 225\n"
    [found] = io.to_structures(io.from_cif_text(header + CELL + SITES + rows))
    [expected] = io.to_structures(io.from_atoms(system("rock_salt_cubic")))
    assert len(found) == 8
    assert StructureMatcher(primitive_cell=False).fit(found, expected)


def test_symmetrized_cif_of_pymatgen_is_expanded() -> None:
    from pymatgen.io.cif import CifWriter

    for name in ("hcp", "wurtzite", "rutile", "perovskite", "diamond"):
        [structure] = io.to_structures(io.from_atoms(system(name)))
        text = str(CifWriter(structure, symprec=1e-4))
        [found] = io.to_structures(io.from_cif_text(text))
        assert StructureMatcher().fit(found, structure), name


def test_each_block_is_a_crystal() -> None:
    one = "data_a" + CELL + SITES + "Na1 Na 0 0 0 1\n"
    other = "data_b" + CELL + SITES + "K1 K 0 0 0 1\n K2 K 0.5 0.5 0.5 1\n"
    crystals = io.from_cif_text("data_text\n_publ_author 'A. Author'\n" + other + one)
    assert crystals.counts.tolist() == [2, 1]
    assert crystals.numbers.tolist() == [19, 19, 11]


@pytest.mark.parametrize("symmetry", ["", "_space_group_IT_number 225\n"])
@pytest.mark.parametrize(
    "rows", ["Na1 Na 0 0 0 0.75\n", "Na1 Na 0 0 0 0.5(2)\n K1 K 0 0 0 0.5(2)\n"]
)
def test_disordered_cif_is_refused(rows: str, symmetry: str, tmp_path: Path) -> None:
    text = f"data_mix\n{symmetry}" + CELL + SITES + rows
    with pytest.raises(ValueError, match=r"no partial occupancy\): site Na1 of 'mix' has occup"):
        io.from_cif_text(text)
    (tmp_path / "mix.cif").write_text(text)
    with pytest.raises(ValueError, match="no partial occupancy"):
        io.read_atoms(tmp_path / "mix.cif")


def test_disorder_read_by_ase_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mix.cif").write_text("data_mix" + CELL + SITES + "Na1 Na 0 0 0 0.75\n")
    with pytest.raises(ValueError, match="no partial occupancy"):
        io.from_atoms(ase.io.read(tmp_path / "mix.cif"))


@pytest.mark.parametrize(
    "text", ["", "NaCl", "data_x\n", "data_x" + CELL, "data_x" + SITES + "Na1 Na 0 0 0 1\n"]
)
def test_text_without_structure_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="text must"):
        io.from_cif_text(text)


def test_cif_of_supercell_holds_every_atom(tmp_path: Path) -> None:
    big = supercell(system("skewed"), [[2, 0, 0], [0, 2, 1], [0, 0, 2]])
    io.write_atoms(tmp_path / "big.cif", big)
    [found] = io.read_atoms(tmp_path / "big.cif")
    assert found.numbers.tolist() == big.numbers.tolist()


@pytest.mark.parametrize("text", ["loop_\n_atom_site_label\n", "data_x\nloop_\n", "data_x\n_a '"])
def test_broken_syntax_of_a_cif_is_said_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="must be a CIF") as caught:
        io.from_cif_text(text)
    assert "Error" not in str(caught.value)
    assert "empty list" not in str(caught.value)
