"""The report of rows that cannot be trained on."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

from ase_continuousp.io.replacing import replacing
from ase_continuousp.training.store import CrystalStore

_log = logging.getLogger(__name__)
REPORT = "bad_rows.csv"


def report_bad_rows(
    stores: Sequence[CrystalStore], folder: Path | None, *, strict: bool = False
) -> str:
    """Write all bad rows of some data files to ``bad_rows.csv`` and return a line about them.

    Parameters
    ----------
    stores : sequence of CrystalStore
    folder : Path, optional
        Where the report goes; made if need be. Nothing is written if all rows are good.
    strict : bool
        Refuse bad rows.

    Returns
    -------
    str
        Empty if all rows are good.

    Raises
    ------
    ValueError
        If there are bad rows and `strict` is set, or a file has no good one.
    """
    stores = list(dict.fromkeys(stores))  # a file may be given twice, to weigh it double
    n_bad = sum(len(store.bad) for store in stores)
    if not n_bad:
        if folder is not None:  # an earlier report is no longer true
            (folder / REPORT).unlink(missing_ok=True)
        return ""
    listed = ""
    if folder is not None:
        listed = f", listed in {folder / REPORT}"
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / REPORT) as draft:
            _write(draft, stores)
    empty = [store for store in stores if not len(store)]
    store = (empty or [store for store in stores if store.bad])[0]
    first = store.bad[0]
    line = (
        f"{n_bad} of {sum(store.n_rows for store in stores)} rows are bad{listed}; "
        f"{'none is good' if empty else 'the first'} in {store.source}: "
        f"row {first.row}: {first.reason}"
    )
    if strict or empty:
        raise ValueError(f"data: {line}")
    if folder is not None:
        _log.warning("left out: %s", line)
    return line


def _write(path: Path, stores: Sequence[CrystalStore]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["source", "row", "label", "reason"])
        for store in stores:
            writer.writerows((store.source, one.row, one.label, one.reason) for one in store.bad)
