"""What an evaluation has finished, on disk, so that an interrupted one goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase_continuousp.evaluation.report import Judged, Row, Sample


class Journal:
    """Rows of an evaluation, one JSON line each, after a line that says which evaluation it is.

    Parameters
    ----------
    path : path
        Begun if there is no such file.
    key : dict
        Everything that the rows depend on, as JSON-ready values.

    Raises
    ------
    ValueError
        If the file belongs to another evaluation, or is none of this kind.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> row = Row(0, "NaCl", 2, 0.02, 0.02, 225, 225, "random", -1.0, 1)
    >>> with TemporaryDirectory() as folder:
    ...     Journal(f"{folder}/journal", {"seed": 0}).append([row])
    ...     Journal(f"{folder}/journal", {"seed": 0}).rows == [row]
    True
    """

    def __init__(self, path: str | os.PathLike[str], key: Mapping[str, Any]) -> None:
        self.path = Path(path)
        header = json.dumps({"evaluation": dict(key)}, sort_keys=True)
        self.rows: list[Row] = []
        if not self.path.exists():
            self.path.write_text(header + "\n", encoding="utf-8")
            return
        text = self.path.read_text(encoding="utf-8")
        # The last line is whole only if it ends: a killed writer may leave a part of one.
        whole = text[: text.rfind("\n") + 1]
        lines = whole.splitlines()
        if not lines or lines[0] != header:
            raise ValueError(
                f"journal: {self.path} belongs to another evaluation; remove it to begin anew"
            )
        try:
            self.rows = [_row(json.loads(line)) for line in lines[1:]]
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"journal: {self.path} is damaged: {error}") from None
        if whole != text:
            with self.path.open("r+b") as stream:
                stream.truncate(len(whole.encode("utf-8")))

    def append(self, rows: Sequence[Row]) -> None:
        """Write finished rows."""
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())


def _row(fields: dict[str, Any]) -> Row:
    samples = tuple(Sample(**one) for one in fields.pop("samples"))
    classes = tuple(
        Judged(tuple(map(tuple, one["evidence"])), one["is_right"]) for one in fields.pop("classes")
    )
    return Row(**fields, samples=samples, classes=classes)
