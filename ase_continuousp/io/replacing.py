"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a draft that takes the place of a file when the block ends without an error.

    The draft reaches the disk before it is renamed, so that even after a power cut either the old
    file or the new one is there. After an error the old file is as it was, and no draft is left.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "answer.txt")
    ...     with replacing(path) as draft:
    ...         _ = draft.write_text("42")
    ...     [file.name for file in Path(folder).iterdir()], path.read_text()
    (['answer.txt'], '42')
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        yield draft
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
