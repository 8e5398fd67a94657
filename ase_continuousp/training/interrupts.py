"""Ctrl-C that waits until a run can be kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_interrupts(held: bool = True) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed inside; a second one acts at once.

    Where signals are not ours, in a thread or under a handler of somebody else, nothing is held.

    Parameters
    ----------
    held : bool
        False changes nothing.

    Examples
    --------
    >>> with held_interrupts() as was_pressed:
    ...     was_pressed()
    False
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not held or not is_main or before is not signal.default_int_handler:
        yield lambda: False
        return
    pressed = False

    def hold(_number: int, _frame: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
