"""PostgreSQL: the same rows as in a file, and resuming, on a server of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ase.db
import pytest

from ase_continuousp.search.many import Tally, predict_many

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
pytest.importorskip("ase_db_backends")
pytest.importorskip("psycopg2")

_FOUND = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *map(Path, os.get_exec_path())]
BIN = next((folder for folder in _FOUND if (folder / "initdb").is_file()), None)


@pytest.fixture
def address() -> Iterator[str]:
    """Start a server that listens on a socket in a folder of its own; it refuses to run as root."""
    if BIN is None:
        pytest.skip("apt-get install postgresql")
    # Not pytest's folder: those above it are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    run = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:
        run["user"] = "postgres"
        shutil.chown(folder, "postgres")
    data, log = folder / "data", folder / "log"
    made = [BIN / "initdb", "-D", data, "-A", "trust", "-U", "tester"]
    subprocess.run(made, check=True, timeout=120, **run)
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    server = [BIN / "pg_ctl", "-D", data, "-w", "-t", "60"]
    subprocess.run([*server, "-l", log, "-o", options, "start"], check=True, timeout=90, **run)
    try:
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        subprocess.run([*server, "-m", "immediate", "stop"], timeout=90, **run)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_same_rows_as_in_a_file(address: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("file") / "found.db"
    options = {"model": "perov5", "n_samples": 2, "start": "prototype", "processes": 1}
    formulas = ["SrTiO3", "BaTiO3", "XeO3"]
    assert predict_many(formulas, address, **options) == Tally(done=2, refused=1)
    assert predict_many(formulas, address, **options) == Tally(skipped=3)
    predict_many(formulas, path, **options)
    here = {(row.reduced, row.rank): row for row in ase.db.connect(path).select()}
    there = {(row.reduced, row.rank): row for row in ase.db.connect(address).select()}
    assert set(here) == set(there)
    for key, row in here.items():
        assert there[key].get("energy") == pytest.approx(row.get("energy"))
        assert there[key].formula == row.formula
        assert there[key].key_value_pairs.keys() == row.key_value_pairs.keys()
