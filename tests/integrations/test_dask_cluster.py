"""A list of formulas on a Dask cluster whose processes are not ours and may die or be unfit."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import ase.db
import pytest

from ase_continuousp.search.cluster import connect
from tests.tiny_model import save_tiny_model

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]
FORMULAS = [f"{a}{b}" for a in ("Na", "Cu", "Sr", "Ba", "Ti") for b in ("Cl", "O", "Cl2", "O2")]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A search takes some tenths of a second: time to kill something.
    settings = {"n_steps": 100, "quench_steps": 50}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=settings)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start processes, each the first of a group of its own, and kill the groups at the end."""

    def started(*words: object, path: Path | None = None, **options: object) -> subprocess.Popen:
        paths = os.pathsep.join(map(str, [path, ROOT] if path else [ROOT]))
        environment = os.environ | {"PYTHONPATH": paths}
        command = [sys.executable, *map(str, words)]
        options |= {"env": environment, "start_new_session": True, "cwd": tmp_path, "text": True}
        process = stack.enter_context(subprocess.Popen(command, **options))
        stack.callback(kill, process)
        return process

    with ExitStack() as stack:
        yield started


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and those that it started: for Dask, the machine is gone."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(timeout=30)


def scheduler(start: Start, address: str, **options: object) -> subprocess.Popen[str]:
    words = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    with Path("scheduler.log").open("a") as log:
        return start("-m", "dask", "scheduler", *words, stdout=log, stderr=log, **options)


def workers(start: Start, address: str, n: int, **options: object) -> list[subprocess.Popen[str]]:
    """Start workers and return once the scheduler knows them."""
    words = ["--nthreads", "1", "--no-dashboard"]
    with Path("workers.log").open("a") as log:
        made = [
            start("-m", "dask", "worker", address, *words, stdout=log, stderr=log, **options)
            for _ in range(n)
        ]
    with connect(address, 60.0) as client:
        client.wait_for_workers(n, timeout=120)
    return made


def predict(start: Start, model: Path, address: str) -> subprocess.Popen[str]:
    Path("wanted.txt").write_text("\n".join(FORMULAS))
    command = "from ase_continuousp.cli.main import main; main()"
    options = ["-n", 4, "--start", "random", "--units", 1, "--model", model, "-o", "found.db"]
    return start(
        "-c", command, "predict", "--formulas", "wanted.txt", "--scheduler", address, *options,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(run: subprocess.Popen[str], n: int) -> None:
    """Return when the progress bar stands at n formulas or more."""
    assert run.stderr is not None
    seen = ""
    while (letter := run.stderr.read(1)) != "":
        seen = (seen + letter)[-200:]
        found = re.findall(rf"(\d+)/{len(FORMULAS)} \[", seen)
        if found and int(found[-1]) >= n:
            return
    pytest.fail(f"the run ended: {seen}")


def ending(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = run.communicate(timeout=200)
    return run.returncode, out, err.splitlines()[-1] if err else ""


def test_a_machine_is_lost_and_every_formula_is_done_once(
    start: Start, model: Path, address: str
) -> None:
    scheduler(start, address)
    one, other = workers(start, address, 2)
    run = predict(start, model, address)
    wait_for(run, len(FORMULAS) // 4)
    assert run.poll() is None
    kill(one)
    assert other.poll() is None
    status, out, err = ending(run)
    assert status == 0, err
    assert out == f"{len(FORMULAS)} formulas done, 0 refused, 0 done before, 0 lost: found.db\n"
    firsts = Counter(row.reduced for row in ase.db.connect("found.db").select(rank=1))
    assert len(firsts) == len(FORMULAS)
    assert set(firsts.values()) == {1}
    n_rows = len(ase.db.connect("found.db"))
    _, out, _ = ending(predict(start, model, address))
    assert out.startswith(f"0 formulas done, 0 refused, {len(FORMULAS)} done before, 0 lost")
    assert len(ase.db.connect("found.db")) == n_rows


def test_a_scheduler_that_dies_ends_the_run_in_one_line(
    start: Start, model: Path, address: str
) -> None:
    serving = scheduler(start, address)
    old = workers(start, address, 1)
    run = predict(start, model, address)
    wait_for(run, 2)
    kill(serving)
    status, _, err = ending(run)
    assert status == 2
    assert "is the scheduler gone? What is done is in the database" in err
    n_done = len({row.reduced for row in ase.db.connect("found.db").select()})
    assert 2 <= n_done < len(FORMULAS)
    kill(old[0])
    scheduler(start, address)
    workers(start, address, 1)
    _, out, _ = ending(predict(start, model, address))
    assert out.startswith(f"{len(FORMULAS) - n_done} formulas done, 0 refused, {n_done} done bef")


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("worker", "raise ImportError", r"on worker tcp:\S+ is not installed"),
        ("scheduler", "__version__ = '0.0.1'", "on the scheduler is version 0.0.1, here"),
    ],
)
def test_machines_without_this_package_are_named(
    start: Start, model: Path, address: str, tmp_path: Path, where: str, code: str, said: str
) -> None:
    hiding = tmp_path / "first"
    (hiding / "ase_continuousp").mkdir(parents=True)
    (hiding / "ase_continuousp" / "__init__.py").write_text(code)
    scheduler(start, address, path=hiding if where == "scheduler" else None)
    workers(start, address, 1, path=hiding if where == "worker" else None)
    status, out, err = ending(predict(start, model, address))
    assert (status, out) == (2, "")
    assert re.search(f"error: scheduler: ase_continuousp {said}", err)
    assert not Path("found.db").exists()


def test_what_listens_but_is_no_scheduler_is_said(start: Start, address: str) -> None:
    port = address.rpartition(":")[2]
    start("-m", "http.server", port, "--bind", "127.0.0.1", stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", int(port))) == 0:
                break
        time.sleep(0.05)
    with pytest.raises(ValueError, match=f"what listens at {address} is no Dask scheduler"):
        connect(address, 0.5)
