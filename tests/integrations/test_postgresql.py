"""PostgreSQL: the same rows as in a file, and resuming, on a server of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
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
def address(tmp_path: Path) -> Iterator[str]:
    """Start a server that listens on a socket in the test's folder; it refuses to run as root."""
    if BIN is None:
        pytest.skip("apt-get install postgresql")
    user = None
    if os.geteuid() == 0:
        user = "postgres"
        shutil.chown(tmp_path, user)
        for folder in tmp_path.parents[:2]:
            folder.chmod(0o755)
    data, run = tmp_path / "data", {"user": user, "cwd": tmp_path, "check": True}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([BIN / "initdb", "-D", data, "-A", "trust", "-U", "tester"], **run, **quiet)
    options = f"-k {tmp_path} -c listen_addresses='' -c fsync=off"
    control = [BIN / "pg_ctl", "-D", data]
    subprocess.run([*control, "-w", "-l", tmp_path / "log", "-o", options, "start"], **run, **quiet)
    try:
        yield f"postgresql://tester@/postgres?host={tmp_path}"
    finally:
        subprocess.run([*control, "-W", "-m", "immediate", "stop"], **run, **quiet)


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
