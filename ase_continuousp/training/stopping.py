"""What a run that cannot go on says: where it stopped, why, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ase_continuousp.io.replacing import replacing
from ase_continuousp.training.run_state import has_state, read_record, state_path

if TYPE_CHECKING:
    from ase_continuousp.training.store import CrystalFiles

REPORT = "not_finite.txt"
_NAMED = 5  # crystals in a message; the report names all


class NotFiniteError(ValueError):
    """Loss or gradient of an update is not finite.

    Parameters
    ----------
    what : str
        "loss" or "gradient".
    step : int
        The update, from 1.
    rows : sequence of int
        Crystals of its batch.
    learning_rate : float
    """

    def __init__(self, what: str, step: int, rows: Sequence[int], learning_rate: float) -> None:
        super().__init__(f"the {what} is not finite at step {step}")
        self.rows = rows
        self.learning_rate = learning_rate


@contextmanager
def explained(crystals: CrystalFiles, folder: Path) -> Iterator[None]:
    """Say of errors inside which checkpoint is kept and, of a broken update, which crystals.

    Raises
    ------
    ValueError
        If an update was not finite. All crystals of its batch are listed in ``not_finite.txt``.
    OSError
        If something could not be written.
    """
    try:
        yield
    except NotFiniteError as error:
        names = [crystals.name(int(row)) for row in error.rows]
        more = ""
        if len(names) > _NAMED:
            more = f" and {len(names) - _NAMED} more, all listed in {folder / REPORT}"
        try:
            with replacing(folder / REPORT) as draft:
                draft.write_text("\n".join([str(error), *names, ""]), encoding="utf-8")
        except OSError:
            more = more.partition(",")[0]
        raise ValueError(
            f"{error}, for the batch of {'; '.join(names[:_NAMED])}{more}. {kept(folder)} "
            f"Check these crystals, or begin anew with a lower learning_rate "
            f"(now {error.learning_rate:g})"
        ) from error
    except (OSError, SafetensorError) as error:
        raise OSError(f"the run in {folder} cannot be written: {error}. {kept(folder)}") from error


def kept(folder: Path) -> str:
    """Return a sentence on the last good checkpoint of a run."""
    if not has_state(folder):
        return "No checkpoint has been written yet."
    step = read_record(folder)["step"]
    return f"The last good checkpoint is {state_path(folder)} of step {step}; resume takes it."
