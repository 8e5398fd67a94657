"""Rows per second and memory of reading data: parsing each format, then two million crystals.

Parsing is timed on a few thousand rows, in one process, by processor time. The two million
crystals (5 to 20 atoms) are made up, written in the form in which parsed crystals are kept, and
drawn from in random batches, as training does.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.db import connect
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp.crystals import Crystals, offsets_of
from ase_continuousp.io import to_atoms
from ase_continuousp.io.rows import iterate_rows
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.training.batches import Batches
from ase_continuousp.training.parsing import Chunk, parse_rows
from ase_continuousp.training.store import CrystalFiles, CrystalStore, StoreWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000, help="crystals that are made up")
    parser.add_argument("--parsed", type=int, default=2000, help="rows of each format")
    parser.add_argument("--batches", type=int, default=3000, help="of 32 crystals")
    parser.add_argument("--folder", type=Path, help="where to write; removed at the end")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-data-", dir=options.folder))
    try:
        parsing(folder, options.parsed)
        many(folder, options.rows, options.batches)
    finally:
        shutil.rmtree(folder)


def parsing(folder: Path, n: int) -> None:
    print(f"parsing {n} rows, one process:")
    atoms = to_atoms(made_up(n, np.random.default_rng(0)))
    list(parse_rows(iterate_rows(written_extxyz(folder, atoms[:10]))))  # compiles
    for write in (
        written_csv,
        written_cifs,
        written_extxyz,
        written_db,
        written_lmdb,
        written_json,
    ):
        try:
            path = write(folder, atoms)
        except Exception as error:
            print(f"  {write.__name__.removeprefix('written_'):8} skipped: {error}")
            continue
        begun = time.process_time()
        good = sum(len(chunk.rows) for chunk in parse_rows(iterate_rows(path)))
        rate = n / (time.process_time() - begun)
        print(f"  {write.__name__.removeprefix('written_'):8} {rate:7.0f} rows/s, {good} good")
    frames = written_extxyz(folder, atoms)
    text = frames.read_text()
    for times in (1, 10):
        frames.write_text(text * times)
        before = memory("VmHWM")
        for _ in parse_rows(iterate_rows(frames)):
            pass
        print(f"  {n * times} frames: peak memory {memory('VmHWM'):.0f} MiB ({before:.0f} before)")


def many(folder: Path, n: int, n_batches: int) -> None:
    store = folder / "store"
    store.mkdir()
    begun, wall = time.process_time(), time.monotonic()
    with StoreWriter(store) as writer:
        for chunk in chunks(n):
            writer.add(chunk)
        writer.finish("made up")
    took = time.process_time() - begun
    size = sum(file.stat().st_size for file in store.iterdir()) / 2**30
    print(f"{n} crystals made up and written: {n / took:.0f} rows/s of processor time,")
    print(f"  {n / (time.monotonic() - wall):.0f} of wall time; {size:.2f} GiB on the disk")
    print(f"  own memory {memory('RssAnon'):.0f} MiB")

    begun, wall = time.process_time(), time.monotonic()
    crystals = CrystalFiles([CrystalStore(store, "made up")])
    batches = Batches(crystals.counts, 32, seed=0)
    batches.rows(0)
    print(f"opened, order of an epoch drawn: {time.monotonic() - wall:.2f} s")
    begun, wall = time.process_time(), time.monotonic()
    for step in range(n_batches):
        crystals.select(batches.part(step).rows)
    report("random batches of 32", 32 * n_batches, begun, wall)
    begun, wall = time.process_time(), time.monotonic()
    for step in range(n_batches // 10):
        reduce_crystals(crystals.select(batches.part(step).rows))
    report("and reduced to Niggli cells", 32 * (n_batches // 10), begun, wall)
    print(
        f"  own memory {memory('RssAnon'):.0f} MiB; pages of the files in memory "
        f"{memory('RssFile'):.0f} MiB, which the system takes back when it needs them"
    )


def report(what: str, rows: int, begun: float, wall: float) -> None:
    took, waited = time.process_time() - begun, time.monotonic() - wall
    print(f"{what}: {rows / took:.0f} rows/s of processor time, {rows / waited:.0f} of wall time")


def chunks(n: int, size: int = 5000) -> Iterator[Chunk]:
    for first in range(0, n, size):
        rows = list(range(first, min(first + size, n)))
        crystals = made_up(len(rows), np.random.default_rng(first))
        yield Chunk([crystals], rows, [f"row-{row}" for row in rows], [], len(rows))


def made_up(n: int, rng: np.random.Generator) -> Crystals:
    """Return crystals of 5 to 20 atoms, none nearer than 0.5 Å along x."""
    counts = rng.integers(5, 21, n)
    offsets = offsets_of(counts)
    cells = rng.normal(0.0, 0.3, (n, 3, 3))
    cells += np.cbrt(counts * 15.0)[:, None, None] * np.eye(3)
    owner = np.repeat(np.arange(n), counts)
    fractional = rng.random((offsets[-1], 3))
    fractional[:, 0] = (np.arange(offsets[-1]) - offsets[owner]) / counts[owner]
    positions = np.einsum("ax,axy->ay", fractional, cells[owner])
    return Crystals(positions, cells, rng.integers(1, 90, offsets[-1]), offsets)


def written_csv(folder: Path, atoms: list[Atoms]) -> Path:
    path = folder / "rows.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["cif"])
        writer.writerows([cif_of(one)] for one in atoms)
    return path


def written_cifs(folder: Path, atoms: list[Atoms]) -> Path:
    path = folder / "cifs"
    path.mkdir()
    for number, one in enumerate(atoms):
        (path / f"{number:07d}.cif").write_text(cif_of(one))
    return path


def written_extxyz(folder: Path, atoms: list[Atoms]) -> Path:
    path = folder / "rows.extxyz"
    ase.io.write(path, atoms, format="extxyz")
    return path


def written_db(folder: Path, atoms: list[Atoms]) -> Path:
    return _database(folder / "rows.db", atoms)


def written_lmdb(folder: Path, atoms: list[Atoms]) -> Path:
    return _database(folder / "rows.aselmdb", atoms)


def written_json(folder: Path, atoms: list[Atoms]) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps([AseAtomsAdaptor.get_structure(one).as_dict() for one in atoms]))
    return path


def _database(path: Path, atoms: list[Atoms]) -> Path:
    with connect(path) as database:
        for one in atoms:
            database.write(one)
    return path


def cif_of(atoms: Atoms) -> str:
    return str(AseAtomsAdaptor.get_structure(atoms).to(fmt="cif"))


def memory(kind: str) -> float:
    """Return a line of /proc/self/status [MiB]."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    main()
