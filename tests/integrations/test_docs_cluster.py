"""What docs/search.md shows for clusters and workflows is run as it stands there."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import ase.db
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
PSEUDO = Path("/usr/share/espresso/pseudo")

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

# What Slurm's commands do, on this machine: start the script of a job, print its number; end it.
SBATCH = """#!/bin/sh
cp "$1" {folder}/job_script
setsid sh {folder}/job_script > {folder}/job.log 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- -"$1"
"""


def block(word: str) -> str:
    """Return the one example of the page that holds a word."""
    [found] = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.S) if word in text]
    return str(found)


def test_quacc_relaxes_what_was_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("quacc")
    if shutil.which("pw.x") is None or not PSEUDO.is_dir():
        pytest.skip("apt-get install quantum-espresso quantum-espresso-data")
    monkeypatch.setenv("QUACC_ESPRESSO_PSEUDO", str(PSEUDO))
    monkeypatch.setenv("QUACC_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("QUACC_SCRATCH_DIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    script = tmp_path / "quacc_example.py"
    script.write_text(block("relax_job"))
    relaxed = runpy.run_path(str(script))["result"]["atoms"]
    assert len(relaxed) == 2
    # The local density approximation gives 4.16 to 4.19 Å, by pseudopotential and cutoff.
    assert (4 * relaxed.get_volume()) ** (1 / 3) == pytest.approx(4.18, abs=0.04)


def test_a_list_of_formulas_on_slurm(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (commands / name).write_text(text.format(folder=tmp_path) if "{" in text else text)
        (commands / name).chmod(0o755)
    text = block("SLURMCluster(")
    # 32 cores are not here, and two formulas need no 20 jobs.
    small = text.replace("cores=32", "cores=1").replace("processes=32", "processes=1")
    small = small.replace("128GB", "4GB").replace("maximum_jobs=20", "maximum_jobs=1")
    small = small.replace('"found.db",', '"found.db", n_samples=2, start="prototype",')
    assert len(set(small.splitlines()) - set(text.splitlines())) == 5
    (tmp_path / "list.py").write_text(small)
    (tmp_path / "wanted.txt").write_text("MgO\nNaCl\n")
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DASK_JOBQUEUE__SLURM__INTERFACE": "lo",
        "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__STATUS": "false",
    }
    done = subprocess.run(
        [sys.executable, "list.py"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Tally(done=2, refused=0, skipped=0, lost=0, error='', reasons={})\n"
    firsts = Counter(row.reduced for row in ase.db.connect(tmp_path / "found.db").select(rank=1))
    assert firsts == {"MgO": 1, "NaCl": 1}
    job = (tmp_path / "job_script").read_text()
    for line in ("#SBATCH --requeue", "#SBATCH -t 12:00:00", "export OMP_NUM_THREADS=1"):
        assert line in job.splitlines()
    assert "--nthreads 1" in job


def test_the_job_script_of_the_page(tmp_path: Path) -> None:
    """All 32 workers of a job, one thread each."""
    pytest.importorskip("dask_jobqueue")
    text = block("SLURMCluster(")
    before, adapted, _ = text.partition("    cluster.adapt(")
    assert adapted
    (tmp_path / "list.py").write_text(f"{before}    print(cluster.job_script())\n")
    done = subprocess.run(
        [sys.executable, "list.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"#SBATCH --cpus-per-task=32", "#SBATCH --mem=120G", "#SBATCH --requeue"} <= set(lines)
    assert re.search(r"--nthreads 1 --memory-limit \S+ --nworkers 32 ", done.stdout)
