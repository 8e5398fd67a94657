"""The log of a training run: a CSV file and, if wanted, TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ase_continuousp.io.replacing import replacing


class RunLog:
    """Rows of numbers, one for each logged step.

    A run that is resumed logs from its checkpoint on: what an interrupted run had logged after it
    is dropped, so that no step stands twice.

    Parameters
    ----------
    path : Path
        The CSV file.
    fields : sequence of str
        Its columns, "step" first.
    step : int
        Steps done.
    tensorboard : path, optional
        Folder of TensorBoard's event files.
    writes : bool
        Whether this process is the one that writes.

    Raises
    ------
    ImportError
        If TensorBoard is asked for and not installed; the message names the extra.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "log.csv")
    ...     for resumed_at in (0, 1):
    ...         with RunLog(path, ["step", "loss"], resumed_at) as log:
    ...             log.write({"step": 1 + resumed_at, "loss": 0.5})
    ...             log.write({"step": 2 + resumed_at, "loss": 0.4})
    ...     path.read_text().split()
    ['step,loss', '1,0.5', '2,0.5', '3,0.4']
    """

    def __init__(
        self,
        path: Path,
        fields: Sequence[str],
        step: int,
        tensorboard: str | os.PathLike[str] | None = None,
        writes: bool = True,
    ) -> None:
        self._path = path
        self._fields = list(fields)
        self._writer: Any = None
        self._writes = writes
        if writes:
            self._writer = None if tensorboard is None else _tensorboard(tensorboard, step)
            self._trim(step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; fields that it lacks stay empty."""
        if not self._writes:
            return
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self._fields).writerow(row)
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def _trim(self, step: int) -> None:
        kept: list[dict[str, str]] = []
        if self._path.is_file() and step:
            text = self._path.read_text(encoding="utf-8")
            # The last line may have been cut by a kill.
            lines = text[: text.rfind("\n") + 1].splitlines()
            kept = [row for row in csv.DictReader(lines) if int(row["step"]) <= step]
        with replacing(self._path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._fields, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)


def _tensorboard(folder: str | os.PathLike[str], step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "tensorboard is not installed: pip install 'ase-continuousp[train]'"
        ) from error
    # Events of the interrupted run after the checkpoint are hidden.
    return SummaryWriter(os.fspath(folder), purge_step=step + 1 if step else None)
