"""200 formulas on a Dask cluster of two workers, one killed half way; and what a search costs.

python benchmarks/killed_worker.py --formulas 200
python benchmarks/killed_worker.py --rates 20
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from itertools import product
from math import gcd
from pathlib import Path

import ase.db
from dask.distributed import Client, LocalCluster

from ase_continuousp.search.database import SearchDatabase
from ase_continuousp.search.many import predict_many

CATIONS = {
    "Li": 1, "Na": 1, "K": 1, "Rb": 1, "Cs": 1, "Ag": 1, "Mg": 2, "Ca": 2, "Sr": 2, "Ba": 2,
    "Zn": 2, "Cd": 2, "Mn": 2, "Al": 3, "Ga": 3, "In": 3, "Sc": 3, "Y": 3, "La": 3, "Ti": 4,
    "Zr": 4, "Hf": 4, "Sn": 4,
}  # fmt: skip
ANIONS = {"F": 1, "Cl": 1, "Br": 1, "I": 1, "O": 2, "S": 2, "Se": 2, "Te": 2, "N": 3, "P": 3}


def wanted(n: int) -> list[str]:
    """Return charge-balanced binary compounds."""
    made = []
    for (cation, plus), (anion, minus) in product(CATIONS.items(), ANIONS.items()):
        unit = gcd(plus, minus)
        made.append(f"{cation}{minus // unit}{anion}{plus // unit}")
    return made[:n]


def kill_half_way(client: Client, path: Path, n: int, log: list[str]) -> None:
    """Kill a worker once half of the searches are in the database."""
    workers = client.run(os.getpid)
    while len(SearchDatabase(path).done()) < n // 2:
        time.sleep(1.0)
    address, pid = min(workers.items())
    os.kill(pid, signal.SIGKILL)
    log.append(f"killed {address} with {len(SearchDatabase(path).done())} searches written")


def run(n: int, samples: int, start: str) -> None:
    formulas = wanted(n)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster) as client,
    ):
        path = Path(folder, "found.db")
        SearchDatabase(path).__enter__()
        log: list[str] = []
        killer = threading.Thread(target=kill_half_way, args=(client, path, n, log), daemon=True)
        killer.start()
        began = time.perf_counter()
        tally = predict_many(
            formulas, path, n_samples=samples, start=start, executor=client, progress=True
        )
        seconds = time.perf_counter() - began
        killer.join()
        firsts = Counter(row.reduced for row in ase.db.connect(path).select("rank<2"))
        print(log[0], flush=True)
        print(tally)
        print(f"{len(firsts)} formulas in the database, each at most {max(firsts.values())} times")
        rows, size = len(ase.db.connect(path)), path.stat().st_size
        print(f"{rows} rows, {size / rows / 1e3:.1f} kB each; {seconds:.0f} s")
        again = predict_many(formulas, path, n_samples=samples, start=start, executor=client)
        print("the same call again:", again)


def rates(n: int) -> None:
    """Print the processor time of a search, in this process."""
    formulas = wanted(230)[:: 230 // n][:n]
    print("start  samples  processor seconds a formula")
    for start, samples in (("prototype", 5), ("prototype", 20), ("mixed", 20)):
        with tempfile.TemporaryDirectory() as folder:
            options = {"n_samples": samples, "start": start, "processes": 1}
            predict_many(formulas[:1], f"{folder}/warm.db", **options)
            began = time.process_time()
            predict_many(formulas, f"{folder}/found.db", **options)
            print(f"{start}  {samples}  {(time.process_time() - began) / n:.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--formulas", type=int, default=200)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--start", default="prototype")
    parser.add_argument("--rates", type=int, default=0, help="measure this many searches instead")
    options = parser.parse_args()
    if options.rates:
        rates(options.rates)
    else:
        run(options.formulas, options.samples, options.start)
