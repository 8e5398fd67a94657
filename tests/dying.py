"""Tasks that kill their worker; in a module that imports next to nothing, as workers start anew."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def die_once(flag: str, value: int) -> int:
    """Kill this process unless that was done before."""
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
