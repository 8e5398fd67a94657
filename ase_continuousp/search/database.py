"""Results of searches in an ase.db: written in batches by one process, and what is done already."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import ase.db
from ase import Atoms

from ase_continuousp.io.files import split_info
from ase_continuousp.io.replacing import replacing
from ase_continuousp.search.candidates import Candidate

_BATCH = 100  # searches in a transaction
_SECONDS = 10.0  # after which a transaction is written, full or not

_DESCRIPTIONS = {
    "search": ("Search", "Formula, model and settings as one number", ""),
    "reduced": ("Reduced formula", "Formula that was asked for", ""),
    "rank": ("Rank", "Place in the order of its search, 0 for a refused formula", ""),
    "energy_per_atom": ("Energy", "Of the learned model, per atom", ""),
    "probability": ("Probability", "Of being the right crystal", ""),
    "n_found": ("Found", "Starts that ended in this crystal", ""),
}

_METADATA = {
    "title": "Crystals predicted by ase_continuousp",
    "key_descriptions": {key: list(texts) for key, texts in _DESCRIPTIONS.items()},
}

_SERVERS = ("postgresql://", "postgres://")


class SearchDatabase:
    """An ase.db that search results are streamed to.

    Each candidate is a row, with the search that it belongs to, its rank and all of
    :class:`~ase_continuousp.search.candidates.Candidate` as key-value pairs. A formula that was
    refused is a row without atoms, of rank 0. All rows of a search are written in one
    transaction, so that a search is in the database as a whole or not at all, whenever the
    process is killed. **One process writes at a time**; any number may read, at any time.

    Parameters
    ----------
    address : str or path
        FILE.db for SQLite, or ``postgresql://user:password@host/name``, which needs the package
        ase-db-backends.

    Raises
    ------
    FileNotFoundError
        If the folder of a file does not exist.
    ImportError
        If ase-db-backends is needed and not installed.
    ValueError
        If the address is none of these, or the file is no ase.db.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with SearchDatabase(f"{folder}/found.db") as database:
    ...         database.refuse("s1", {"reduced": "UO2"}, "element U is not supported")
    ...     SearchDatabase(f"{folder}/found.db").done()
    {'s1'}
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.address = check_address(address)
        try:
            self._db: Any = ase.db.connect(self.address, use_lock_file=False)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"database: {self.address} needs a package: pip install ase-db-backends ({error})"
            ) from error
        self._waiting: list[list[tuple[Atoms, dict[str, Any], dict[str, Any]]]] = []
        self._written = time.monotonic()

    def done(self) -> set[str]:
        """Return the keys of the searches that are in the database.

        Cost: some 0.1 ms a search.
        """
        if self._is_missing():
            return set()
        with self._read():
            rows = self._db.select("rank<2", include_data=False)
            return {str(row.search) for row in rows if "search" in row}

    def add(
        self,
        search: str,
        pairs: Mapping[str, Any],
        candidates: Sequence[Candidate],
        provenance: Mapping[str, Any],
    ) -> None:
        """Take the candidates of a search, best first.

        Parameters
        ----------
        search : str
            Key of the search.
        pairs : dict
            Key-value pairs of all rows.
        candidates : sequence of Candidate
            At least one.
        provenance : dict
            What made them; goes to the data of each row.
        """
        rows = []
        for rank, one in enumerate(candidates, start=1):
            found = {**one.atoms.info, **pairs, "search": search, "rank": rank}
            queried, data = split_info(found)
            data |= {"provenance": dict(provenance), "trace": one.trace}
            if one.raw is not None:
                data["raw"] = {
                    "numbers": one.raw.numbers,
                    "positions": one.raw.positions,
                    "cell": one.raw.cell.array,
                    "energy": one.raw.get_potential_energy(),
                }
            rows.append((one.atoms, queried, data))
        self._take(rows)

    def refuse(self, search: str, pairs: Mapping[str, Any], reason: str) -> None:
        """Take a search that cannot be done, so that it is not tried again."""
        queried, data = split_info({**pairs, "search": search, "rank": 0})
        self._take([(Atoms(), queried, data | {"reason": reason})])

    def flush(self, *, only_if_due: bool = False) -> None:
        """Write what waits, all in one transaction.

        Parameters
        ----------
        only_if_due : bool
            Not if there is little and the last time was not long ago.
        """
        late = time.monotonic() - self._written > _SECONDS
        if not self._waiting or (only_if_due and len(self._waiting) < _BATCH and not late):
            return
        with self._db:
            for rows in self._waiting:
                for atoms, pairs, data in rows:
                    self._db.write(atoms, key_value_pairs=pairs, data=data)
        self._waiting.clear()
        self._written = time.monotonic()

    def __enter__(self) -> SearchDatabase:
        if self._is_missing():
            # ASE makes tables one by one: who reads at that moment finds a broken database.
            with replacing(self.address) as draft:
                draft.unlink(missing_ok=True)  # SQLite would go on with what a kill left
                ase.db.connect(draft, type="db", use_lock_file=False).metadata = _METADATA
        with self._read():
            is_new = not self._db.metadata
        if is_new:
            self._db.metadata = _METADATA
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()  # what is finished stays, also of a run that fails

    def _is_missing(self) -> bool:
        return not self.address.startswith(_SERVERS) and not Path(self.address).exists()

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of SQLite, of ASE, of the driver of another database
            raise ValueError(f"database: {self.address} cannot be read: {error}") from error

    def _take(self, rows: list[tuple[Atoms, dict[str, Any], dict[str, Any]]]) -> None:
        self._waiting.append(rows)
        self.flush(only_if_due=True)


def check_address(address: str | os.PathLike[str]) -> str:
    """Return the address of a database if it can be one; callers ask before long work.

    Raises
    ------
    FileNotFoundError
        If the folder of a file does not exist.
    ValueError
        If it is neither FILE.db nor postgresql://...

    Examples
    --------
    >>> check_address("found.db")
    'found.db'
    """
    text = os.fspath(address)
    if text.startswith(_SERVERS):
        return text
    path = Path(text)
    if path.suffix != ".db" or path.is_dir():
        raise ValueError(f"database must be FILE.db or postgresql://...: {text!r}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"database must lie in an existing folder: {text}")
    return text
