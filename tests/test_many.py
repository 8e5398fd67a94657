"""Lists of formulas: every one in the database once, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase.cli.main import main as ase_command

from ase_continuousp import predict
from ase_continuousp.search.cluster import connect
from ase_continuousp.search.database import SearchDatabase, check_address
from ase_continuousp.search.executors import EnduringProcesses, as_executor, processes
from ase_continuousp.search.many import Tally, predict_many, read_formulas
from ase_continuousp.search.task import Settings, search_one
from tests.dying import die, die_once
from tests.tiny_model import save_tiny_model

FEW = {"n_samples": 2, "start": "random", "formula_units": 1}
SALTS = [f"{a}{b}" for a in ("Na", "Cu", "Sr", "Ba", "Ti") for b in ("Cl", "O")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"n_steps": 2, "quench_steps": 2}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=settings)


def ranks(path: Path) -> dict[str, list[int]]:
    """Return the ranks in the database by formula; an independent look, by ASE alone."""
    found: dict[str, list[int]] = {}
    for row in ase.db.connect(path).select():
        found.setdefault(row.reduced, []).append(row.rank)
    return found


# The database


def test_rows_are_the_candidates_of_predict(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.db"
    tally = predict_many(["ClNa", "Na2Cl2", "UO2"], path, model=model, processes=1, seed=3, **FEW)
    assert tally == Tally(done=1, refused=1)
    found = predict("NaCl", model=model, seed=3, **FEW)
    rows = list(ase.db.connect(path).select("rank>0", sort="rank"))
    assert [row.rank for row in rows] == list(range(1, len(found) + 1))
    for row, one in zip(rows, found, strict=True):
        np.testing.assert_allclose(row.positions, one.atoms.positions)
        assert row.energy == pytest.approx(one.atoms.get_potential_energy())
        assert row.energy_per_atom == pytest.approx(one.energy_per_atom)
        assert (row.spacegroup_number, row.n_found) == (one.spacegroup[1], one.n_found)
        assert (row.clash, row.volume_outlier) == (one.clash, one.volume_outlier)
        assert row.seed == 3
        assert row.model_hash.startswith("sha256-")
        assert row.data.provenance["settings"]["start"] == "random"
        assert len(row.data.trace) == len(one.trace)
    [refused] = ase.db.connect(path).select(rank=0)
    assert refused.natoms == 0
    assert "element U is not supported" in refused.data.reason


def test_what_is_done_is_skipped_and_other_settings_are_not(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.db"
    options = {"model": model, "processes": 1, **FEW}
    assert predict_many(SALTS[:2], path, **options) == Tally(done=2)
    assert predict_many([*SALTS[:3], "UO2"], path, **options) == Tally(done=1, refused=1, skipped=2)
    assert predict_many([*SALTS[:3], "UO2"], path, **options) == Tally(skipped=4)
    before = len(ase.db.connect(path))
    assert predict_many(SALTS[:1], path, **options, seed=1) == Tally(done=1)
    assert len(ase.db.connect(path)) > before


def test_ase_reads_it(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.db"
    predict_many(["NaCl", "UO2"], path, model=model, processes=1, **FEW)
    ase_command(args=["db", str(path), "rank=1", "-c", "reduced,rank,energy_per_atom"])
    assert "NaCl   |   1|" in capsys.readouterr().out
    ase_command(args=["gui", "-t", "-g", "e", f"{path}@rank=1"])
    [energy] = capsys.readouterr().out.split()
    assert float(energy) == pytest.approx(ase.db.connect(path).get(rank=1).energy, abs=1e-4)


def test_a_killed_run_leaves_whole_searches_and_is_finished_by_the_same_call(
    model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "found.db"
    code = f"""
import ase_continuousp.search.database as database
from ase_continuousp.search.many import predict_many
database._BATCH = 1
predict_many({SALTS!r}, {str(path)!r}, model={str(model)!r}, processes=1, **{FEW!r})
"""
    run = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 300
        while run.poll() is None and time.monotonic() < deadline:
            if SearchDatabase(path).done():
                break
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    finally:
        run.kill()
        run.wait()
    n_done = len(SearchDatabase(path).done())
    assert n_done >= 1
    tally = predict_many(SALTS, path, model=model, processes=1, **FEW)
    assert (tally.done, tally.skipped) == (len(SALTS) - n_done, n_done)
    found = ranks(path)
    assert len(found) == len(SALTS)
    assert all(sorted(own) == list(range(1, len(own) + 1)) for own in found.values())


def test_an_interrupted_run_keeps_what_is_done(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ase_continuousp.search import many

    searched: list[str] = []

    def interrupted(formula: str, *rest: object) -> object:
        if len(searched) == 2:
            raise KeyboardInterrupt
        searched.append(formula)
        return search_one(formula, *rest)  # type: ignore[arg-type]

    search_one = many.search_one
    monkeypatch.setattr(many, "search_one", interrupted)
    path = tmp_path / "found.db"
    with pytest.raises(KeyboardInterrupt):
        predict_many(SALTS, path, model=model, processes=1, **FEW)
    assert set(ranks(path)) == set(searched)


def test_a_reader_meets_a_new_database_whole_or_not_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.db" for k in range(40)]

    def write() -> None:
        for path in paths:
            with SearchDatabase(path) as database:
                database.refuse("s1", {"reduced": "UO2"}, "element U is not supported")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        seen = []
        while not writing.done():
            seen += [SearchDatabase(path).done() for path in paths]
        writing.result()
    assert all(keys <= {"s1"} for keys in seen)
    assert all(SearchDatabase(path).done() == {"s1"} for path in paths)


def test_what_a_kill_left_of_a_new_database_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".found.db.tmp").write_bytes(b"half a database")
    with SearchDatabase(tmp_path / "found.db") as database:
        database.refuse("s1", {"reduced": "UO2"}, "element U is not supported")
    assert SearchDatabase(tmp_path / "found.db").done() == {"s1"}
    assert [path.name for path in tmp_path.iterdir()] == ["found.db"]


def test_asking_makes_no_database(tmp_path: Path) -> None:
    assert SearchDatabase(tmp_path / "found.db").done() == set()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["found.json", "found", "mysql://x/y"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="database must be"):
        check_address(address)
    with pytest.raises(FileNotFoundError):
        check_address("no/such/found.db")


def test_a_file_that_is_no_database_is_refused(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "noise.db"
    path.write_bytes(b"\x00\xff" * 3000)
    with pytest.raises(ValueError, match="cannot be read"):
        predict_many(["NaCl"], path, model=model, processes=1, **FEW)
    assert path.read_bytes() == b"\x00\xff" * 3000


def test_lists_are_read_and_bad_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# wanted\nMgO\n\n Ca(OH)2 # slaked\n")
    assert read_formulas(path) == ["MgO", "Ca(OH)2"]
    path.write_text("MgO\nFoo\n")
    with pytest.raises(ValueError, match=r"line 2 of .*list: formula must"):
        read_formulas(path)
    path.write_text("# none\n")
    with pytest.raises(ValueError, match="there is none"):
        read_formulas(path)


# Executors


def test_workers_that_die_are_replaced(tmp_path: Path) -> None:
    with EnduringProcesses(1) as pool:
        futures = [pool.submit(die_once, str(tmp_path / "flag"), value) for value in range(4)]
        assert [future.result() for future in futures] == [0, 1, 2, 3]
        with pytest.raises(BrokenProcessPool):
            pool.submit(die).result()
        assert pool.submit(abs, -1).result() == 1
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, -1)


def test_errors_that_are_no_refusal_lose_a_formula_for_this_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ase_continuousp.search import many

    def broken(formula: str, *rest: object) -> object:
        if formula == "TiO":
            raise MemoryError("no more")
        return search_one(formula, *rest)  # type: ignore[arg-type]

    search_one = many.search_one
    path = tmp_path / "found.db"
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(many, "search_one", broken)
        first = predict_many(["NaCl", "TiO"], path, model=model, executor=pool, **FEW)
        monkeypatch.setattr(many, "search_one", search_one)
        second = predict_many(["NaCl", "TiO"], path, model=model, executor=pool, **FEW)
    assert first == Tally(done=1, lost=1, error="TiO: MemoryError: no more")
    assert second == Tally(done=1, skipped=1)


def test_a_machine_without_the_model_refuses_no_formula(model: Path, tmp_path: Path) -> None:
    settings = Settings(
        str(model), 2, (1,), "random", None, None, None, False, True, None, 0, "cpu"
    )
    files = settings.files()
    assert search_one("NaCl", settings, files).reason == ""
    with pytest.raises(RuntimeError, match=r"priors\.json of the model folder .* is not the one"):
        search_one("NaCl", settings, files | {"priors.json": "other"})
    absent = replace(settings, model=str(tmp_path / "absent"))
    with pytest.raises(RuntimeError, match=r"there is no model folder .*absent"):
        search_one("NaCl", absent, files)


def test_a_scheduler_that_goes_away_ends_the_run(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.db"

    class Leaving(ThreadPoolExecutor):
        """Does one task; others are cancelled, as the client of a dead scheduler does."""

        def submit(self, *task: Any) -> Future[Any]:  # type: ignore[override]
            if not self._threads:
                return super().submit(*task)
            gone: Future[Any] = Future()
            gone.cancel()
            return gone

    with Leaving(1) as pool:
        with pytest.raises(ConnectionError, match="is the scheduler gone"):
            predict_many(SALTS, path, model=model, executor=pool, **FEW)
        tally = predict_many(SALTS, path, model=model, processes=1, **FEW)
    assert tally.done + tally.skipped == len(SALTS)


def test_an_interrupted_run_ends_its_workers_whatever_they_do() -> None:
    def interrupted() -> None:
        with processes(2) as pool:
            assert pool is not None
            waiting.append(pool.submit(time.sleep, 600))
            workers.append(pool.submit(os.getpid).result())
            raise KeyboardInterrupt

    waiting: list[Future[None]] = []
    workers: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises((BrokenProcessPool, CancelledError)):
        waiting[0].result(timeout=60)
    [worker] = workers
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{worker}").exists()


def test_addresses_of_no_scheduler_are_refused() -> None:
    for address in ("", "nowhere", "nothing://x:1", "tcp://127.0.0.1:1"):
        with pytest.raises(ValueError, match=r"scheduler( must be an address|: nothing answers)"):
            connect(address, 0.2)


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"executor must be .* or a Dask client: int"):
        as_executor(3)


def test_a_worker_of_a_cluster_is_killed_and_no_formula_is_lost(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    path = tmp_path / "found.db"
    written: list[str] = []
    kill: list[Callable[[], None]] = []
    add = SearchDatabase.add

    def counted(self: SearchDatabase, search: str, *rest: object) -> None:
        written.append(search)
        if len(written) == len(SALTS) // 2:
            kill.pop()()
        add(self, search, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SearchDatabase, "add", counted)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        workers = client.run(os.getpid)
        kill.append(lambda: os.kill(min(workers.values()), signal.SIGKILL))
        tally = predict_many(SALTS, path, model=model, executor=client, **FEW)
        assert not kill
        client.wait_for_workers(2)
        assert set(client.run(os.getpid).values()) != set(workers.values())
        assert tally == Tally(done=len(SALTS))
        assert max(Counter(written).values()) == 1
        assert sorted(ranks(path)) == sorted(SALTS)
        # The same numbers as in this process.
        there = predict("NaCl", model=model, executor=client, **FEW)
        here = predict("NaCl", model=model, **FEW)
        assert [c.energy_per_atom for c in there] == [c.energy_per_atom for c in here]
