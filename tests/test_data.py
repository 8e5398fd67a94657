"""Data files of all formats, bad rows, and the cache of what was parsed."""

import csv
import gzip
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.db import connect
from ase.io import Trajectory, write
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.io.rows import iterate_rows
from ase_continuousp.training import data
from ase_continuousp.training.bad_rows import report_bad_rows
from ase_continuousp.training.data import open_crystals, read_crystals
from ase_continuousp.training.parsing import Chunk, parse_rows
from ase_continuousp.training.store import CrystalFiles, CrystalStore, StoreWriter
from tests.systems import system

# From Python 3.12 on, as pytest-xdist has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
ATOMS = [system(n) for n in ("rutile", "perovskite", "one_atom", "hcp", "rock_salt")]
for _atoms in ATOMS:
    _atoms.calc, _atoms.info = None, {}
WHOLE = from_atoms(ATOMS)
STRUCTURES = [AseAtomsAdaptor.get_structure(atoms) for atoms in ATOMS]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(folder))
    return folder


def cif_of(atoms):
    return str(AseAtomsAdaptor.get_structure(atoms).to(fmt="cif"))


def write_csv(path, texts, opener=open, **columns):
    with opener(path, "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["cif", *columns])
        writer.writerows(zip(texts, *columns.values(), strict=True))


def write_as(kind, folder):
    """Write ATOMS in a format and return the path."""
    path = folder / f"five.{kind}"
    WRITERS[kind](path)
    return path


def write_frames(path):
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as stream:
        for atoms in ATOMS:
            write(stream, atoms, format="extxyz")


def write_trajectory(path):
    with Trajectory(path, "w") as file:
        for atoms in ATOMS:
            file.write(atoms)


def write_database(path):
    """With a gap in the ids."""
    with connect(path) as database:
        for atoms in [ATOMS[0], *ATOMS]:
            database.write(atoms, data={"sid": "omat"})
        database.delete([1])


def write_lmdb(path):
    pytest.importorskip("ase_db_backends")
    write_database(path)


def write_entries(path):
    entries = [
        ComputedStructureEntry(structure, -1.0, entry_id=f"mp-{n}").as_dict()
        for n, structure in enumerate(STRUCTURES)
    ]
    with gzip.open(path, "wt") as stream:
        json.dump({"entries": entries}, stream)


def write_folder(path):
    (path / "below").mkdir(parents=True)
    for n, atoms in enumerate(ATOMS):
        (path / (f"{n}.cif" if n < 4 else "below/4.cif")).write_text(cif_of(atoms))
    (path / "notes.txt").write_text("no crystal")


WRITERS = {
    "csv": lambda path: write_csv(path, [cif_of(atoms) for atoms in ATOMS]),
    "csv.gz": lambda path: write_csv(path, [cif_of(atoms) for atoms in ATOMS], gzip.open),
    "extxyz": write_frames,
    "xyz": write_frames,
    "extxyz.gz": write_frames,
    "traj": write_trajectory,
    "db": write_database,
    "aselmdb": write_lmdb,
    "json": lambda path: path.write_text(json.dumps([s.as_dict() for s in STRUCTURES])),
    "json.gz": write_entries,
    "folder": write_folder,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_crystals(kind, tmp_path):
    store = open_crystals(write_as(kind, tmp_path))
    assert (len(store), store.n_rows, store.bad) == (5, 5, ())
    found = store.all()
    np.testing.assert_array_equal(found.offsets, WHOLE.offsets)
    np.testing.assert_array_equal(found.numbers, WHOLE.numbers)
    np.testing.assert_allclose(found.volumes, WHOLE.volumes, rtol=1e-5)
    # A CIF gives lengths and angles, so the orientation of the cell is lost.
    difference = found.fractional - WHOLE.fractional
    np.testing.assert_allclose(difference - np.round(difference), 0, atol=1e-5)
    if "cif" not in kind and kind not in ("csv", "csv.gz", "folder"):
        np.testing.assert_allclose(found.cells, WHOLE.cells, atol=1e-7)
    assert store.elements == tuple(np.unique(WHOLE.numbers).tolist())


def test_one_structure_and_one_cif_are_data_too(tmp_path):
    (tmp_path / "one.json").write_text(
        json.dumps(AseAtomsAdaptor.get_structure(ATOMS[0]).as_dict())
    )
    (tmp_path / "one.cif").write_text(cif_of(ATOMS[0]))
    for name in ("one.json", "one.cif"):
        np.testing.assert_array_equal(read_crystals(tmp_path / name).numbers, ATOMS[0].numbers)


def test_names_come_from_the_file(tmp_path):
    write_csv(tmp_path / "a.csv", [cif_of(ATOMS[0])] * 2, material_id=["mp-1", "mp-2"])
    two = open_crystals(tmp_path / "a.csv")
    entries = open_crystals(write_as("json.gz", tmp_path))
    folder = open_crystals(write_as("folder", tmp_path))
    files = CrystalFiles([two, entries, folder])
    assert files.name(1) == f"row 1 (mp-2) of {tmp_path / 'a.csv'}"
    assert files.name(2) == f"row 0 (mp-0) of {tmp_path / 'five.json.gz'}"
    assert files.name(11) == f"row 4 (below/4.cif) of {tmp_path / 'five.folder'}"


def bad_atoms(kind):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    if kind == "flat":
        salt.set_cell(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]]) * 4.0)
    elif kind == "nan":
        salt.positions[1, 1] = np.nan
    elif kind == "twice":
        salt.positions[1] = salt.positions[0] + salt.cell[2]
    elif kind == "X":
        salt.numbers[0] = 0
    elif kind == "open":
        salt.pbc = (True, True, False)
    elif kind == "image":
        salt = Atoms("Po", cell=[3, 3, 0.05], pbc=True)
    return salt


def test_bad_rows_are_left_out_and_listed(tmp_path):
    kinds = ("good", "flat", "nan", "twice", "good", "X", "open", "image")
    path = tmp_path / "mixed.extxyz"
    for kind in kinds:
        bad_atoms(kind).write(tmp_path / "one.extxyz")
        with path.open("a") as stream:
            stream.write((tmp_path / "one.extxyz").read_text())
    with path.open("a") as stream:
        stream.write("rubbish\nmore rubbish\n")
        stream.write((tmp_path / "one.extxyz").read_text().replace("0.05", "3.0"))
        stream.write('2\nLattice="3 0 0 0 3 0 0 0 3"\nPo 0 0\n')
    store = open_crystals(path)
    assert store.rows.tolist() == [0, 4, 9]
    expected = {
        1: "volume", 2: "finite", 3: "two atoms at one place: 0 and 1 are 0.000 Å apart",
        5: "elements", 6: "periodic", 7: "only 0.05 Å thick",
        8: "line 32 must be the number of atoms: 'rubbish'", 10: "",
    }  # fmt: skip
    assert [one.row for one in store.bad] == list(expected)
    for one in store.bad:
        assert expected[one.row] in one.reason
    with pytest.raises(ValueError, match=rf"row 1 of {path}: .*volume.*\(and 7 more bad rows\)"):
        read_crystals(path)


def test_bad_cifs_and_structures_are_listed(tmp_path):
    good = cif_of(ATOMS[4])
    partial = Structure(Lattice.cubic(3), [{"Po": 0.5, "Pb": 0.5}], [[0, 0, 0]])
    unknown = good.replace("Na", "Qq")
    texts = [good, "", "not a cif", str(partial.to(fmt="cif")), unknown, good]
    write_csv(tmp_path / "bad.csv", texts, id=list("abcdef"))
    store = open_crystals(tmp_path / "bad.csv")
    assert store.rows.tolist() == [0, 5]
    assert [(one.row, one.label) for one in store.bad] == [(1, "b"), (2, "c"), (3, "d"), (4, "e")]
    assert "there is no CIF" in store.bad[0].reason
    assert "partial occupancy" in store.bad[2].reason
    items = [partial.as_dict(), {"energy": 3}, 7, AseAtomsAdaptor.get_structure(ATOMS[0]).as_dict()]
    (tmp_path / "bad.json").write_text(json.dumps(items))
    store = open_crystals(tmp_path / "bad.json")
    assert [one.row for one in store.bad] == [0, 1, 2]
    assert "ordered" in store.bad[0].reason


def test_report_of_bad_rows(tmp_path):
    good = cif_of(ATOMS[0])
    write_csv(tmp_path / "a.csv", [good, "x", good])
    write_csv(tmp_path / "b.csv", [good])
    write_csv(tmp_path / "none.csv", ["", ""])
    a, b, none = (open_crystals(tmp_path / f"{name}.csv") for name in ("a", "b", "none"))
    assert report_bad_rows([b], tmp_path / "out") == ""
    assert not (tmp_path / "out").exists()
    line = report_bad_rows([a, b, a], tmp_path / "out")
    assert "1 of 4 rows are bad" in line
    with (tmp_path / "out" / "bad_rows.csv").open() as stream:
        [row] = csv.DictReader(stream)
    assert (row["source"], row["row"]) == (str(tmp_path / "a.csv"), "1")
    assert row["reason"] == a.bad[0].reason
    with pytest.raises(ValueError, match=r"1 of 4 rows are bad, listed in .*bad_rows\.csv"):
        report_bad_rows([a, b], tmp_path / "out", strict=True)
    with pytest.raises(ValueError, match=r"none is good in .*none\.csv: row 0: there is no CIF$"):
        report_bad_rows([a, none], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "structure\nx\n", "column 'cif', found .'structure'"),
        ("a.csv", "cif\n", "holds no row"),
        ("a.json", '{"a": 1}', "'entries' or 'structures'"),
        ("a.json", '[{"lattice": ', "cannot be read after 0 rows"),
        ("a.csv.gz", "no gzip", "cannot be read after 0 rows"),
        ("a.db", "no database", "cannot be read after 0 rows"),
    ],
)
def test_files_broken_as_a_whole_are_refused(name, content, message, tmp_path, cache):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        open_crystals(tmp_path / name)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_folder_without_data_and_absent_file_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.csv"):
        open_crystals(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        open_crystals(tmp_path / "absent.csv")


def test_aselmdb_without_its_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.aselmdb").write_bytes(b"")
    monkeypatch.setattr("ase_continuousp.io.rows.find_spec", {}.get)
    with pytest.raises(ImportError, match=r"ase-continuousp\[data\]"):
        next(iterate_rows(tmp_path / "a.aselmdb"))


def test_cache_is_keyed_by_content(tmp_path, cache, monkeypatch):
    path = write_as("extxyz", tmp_path)
    first = open_crystals(path)
    shutil.copy(path, tmp_path / "other.extxyz")
    monkeypatch.setattr(data, "parse_rows", None)  # parsing again would fail
    again = open_crystals(tmp_path / "other.extxyz")
    assert again.folder == first.folder
    assert again.name(0) == f"row 0 of {tmp_path / 'other.extxyz'}"
    monkeypatch.undo()
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(cache))
    with path.open("a") as stream:
        stream.write((tmp_path / "other.extxyz").read_text())
    assert len(open_crystals(path)) == 10
    folder = write_as("folder", tmp_path)
    old = open_crystals(folder).folder
    (folder / "0.cif").rename(folder / "9.cif")
    assert open_crystals(folder).folder != old


def test_interrupted_parse_leaves_nothing_and_is_done_again(tmp_path, cache, monkeypatch):
    path = write_as("extxyz", tmp_path)

    def interrupted(rows, processes):
        yield from parse_rows([next(rows)], processes=processes)
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "parse_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_crystals(path)
    assert not [p for p in cache.iterdir() if p.is_dir()]
    monkeypatch.setattr(data, "parse_rows", parse_rows)
    # As if killed: the draft is there, and nobody holds the lock.
    draft = cache / f"crystals-{data._content_hash(path)}.tmp"
    draft.mkdir()
    (draft / "positions.bin").write_bytes(b"half")
    assert len(open_crystals(path)) == 5
    assert not draft.exists()


def _open(path, queue):
    queue.put(len(open_crystals(path)))


def test_two_processes_at_once(tmp_path, cache):
    path = write_as("csv", tmp_path)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    both = [context.Process(target=_open, args=(path, queue)) for _ in range(2)]
    for process in both:
        process.start()
    assert [queue.get(timeout=60) for _ in both] == [5, 5]
    for process in both:
        process.join()
    assert [p.name.endswith(".tmp") for p in cache.iterdir() if p.is_dir()] == [False]


def test_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    path = write_as("extxyz", tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(OSError, match="set ASE_CONTINUOUSP_CACHE to a folder with room"):
        open_crystals(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(StoreWriter, "add", full)
    with pytest.raises(OSError, match="No space left on device"):
        open_crystals(path)


def test_broken_cache_says_what_to_do(tmp_path):
    store = open_crystals(write_as("extxyz", tmp_path))
    os.truncate(store.folder / "positions.bin", 24)
    with pytest.raises(ValueError, match=rf"remove {store.folder}, it is broken"):
        CrystalStore(store.folder).select([0])


def test_selection_over_several_files(tmp_path):
    stores = [open_crystals(write_as(kind, tmp_path)) for kind in ("extxyz", "traj")]
    files = CrystalFiles(stores)
    order = [7, 0, 9, 2, 2]
    found = files.select(order)
    expected = Crystals.concatenate([s.all() for s in stores]).select(order)
    for name in ("positions", "cells", "numbers", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert len(files) == len(files.counts) == 10
    np.testing.assert_array_equal(files.all().numbers, np.tile(WHOLE.numbers, 2))
    assert files.elements == stores[0].elements


def test_several_processes_give_the_same_in_the_same_order(tmp_path):
    path = tmp_path / "many.extxyz"
    text = "".join(
        f'1\nLattice="{a} 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nPo 0 0 0\n'
        for a in (3 + 0.001 * np.arange(1300)).round(3)
    )
    path.write_text(text.replace('Lattice="3.7 ', 'Lattice="nan '))

    def parsed(processes):
        chunks = list(parse_rows(iterate_rows(path), processes=processes))
        cells = np.concatenate([c.cells for chunk in chunks for c in chunk.crystals])
        return cells[:, 0, 0].tolist(), [b for chunk in chunks for b in chunk.bad]

    assert parsed(2) == parsed(1)
    assert parsed(1)[1][0].row == 700


def test_rows_are_read_one_at_a_time(tmp_path):
    """Whatever the format, the first row is there before the file is read."""
    path = Path(tmp_path, "endless.extxyz")
    os.mkfifo(path)
    frame = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nPo 0 0 0\n'
    with pytest.raises(FileNotFoundError):  # a pipe is no file: nothing would be hashed
        next(iterate_rows(path))
    from ase_continuousp.io.rows import _extxyz_rows

    writer = multiprocessing.get_context("fork").Process(
        target=lambda: path.open("w").write(frame * 10_000)
    )
    writer.start()
    rows = _extxyz_rows(path)
    assert len(next(rows).atoms()[0]) == 1
    rows.close()
    writer.terminate()
    writer.join()


def test_chunk_without_good_rows_can_be_stored(tmp_path):
    with StoreWriter(tmp_path) as writer:
        writer.add(Chunk([], [], [], [], 3))
        writer.finish("three.csv")
    store = CrystalStore(tmp_path)
    assert (len(store), store.n_rows, len(store.counts)) == (0, 3, 0)


def test_a_script_that_its_workers_cannot_import_ends_with_the_reason(tmp_path, monkeypatch):
    """Workers that import it must not wait for a lock that waits for them."""
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "salts.extxyz", [bulk("NaCl", "rocksalt", a=5.6)] * 1100)
    script = tmp_path / "script.py"
    script.write_text(
        "from ase_continuousp.training.data import open_crystals\n"
        f"open_crystals({str(tmp_path / 'salts.extxyz')!r}, processes=2)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "processes: more than one need a script whose work stands behind" in done.stderr
