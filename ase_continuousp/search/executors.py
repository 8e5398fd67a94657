"""Where searches are computed: any executor, a Dask cluster, or processes that may die."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, cast

from ase_continuousp.arguments import check_count

logger = logging.getLogger(__name__)

_ATTEMPTS = 3  # at a task whose worker dies


def as_executor(executor: Any) -> Executor:
    """Return an executor of concurrent.futures for one, or for the client of a Dask cluster.

    Parameters
    ----------
    executor : concurrent.futures.Executor or dask.distributed.Client
        Dask starts the tasks of workers that die again on others.

    Raises
    ------
    TypeError
        If it is neither.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(1) as pool:
    ...     as_executor(pool) is pool
    True
    """
    if isinstance(executor, Executor):
        return executor
    if hasattr(executor, "get_executor"):
        # Not pure: the same task given twice is to be computed twice.
        return cast(Executor, executor.get_executor(pure=False))
    raise TypeError(
        "executor must be a concurrent.futures.Executor or a Dask client: "
        f"{type(executor).__name__}"
    )


@contextmanager
def processes(n: int) -> Iterator[Executor | None]:
    """Yield n spawned workers of one thread each, or None where one process is enough.

    A script that uses them needs the usual ``if __name__ == "__main__":``.

    Parameters
    ----------
    n : int

    Examples
    --------
    >>> with processes(1) as pool:
    ...     pool is None
    True
    """
    check_count("processes", n)
    if n == 1:
        yield None
        return
    pool = EnduringProcesses(n)
    try:
        yield pool
    except BaseException:
        pool.kill()  # whoever interrupts does not want to wait
        raise
    pool.shutdown()


class EnduringProcesses(Executor):
    """Spawned worker processes of one thread each that are replaced if one of them dies.

    A ProcessPoolExecutor is of no more use once a worker was killed, for example for its memory.
    Here its tasks are computed again by new workers, each three times at most; then its future
    raises BrokenProcessPool.

    Parameters
    ----------
    n : int
        Processes.

    Examples
    --------
    >>> with EnduringProcesses(1) as pool:
    ...     pool.submit(abs, -3).result()
    3
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._lock = threading.Lock()
        self._pool = self._new_pool()
        self._is_shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the future of fn(*args, **kwargs)."""
        outer: Future[Any] = Future()
        outer.set_running_or_notify_cancel()  # shutdown cancels, single futures are not
        self._attempt(outer, 1, fn, args, kwargs)
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; wait for those that there are, or cancel them."""
        with self._lock:
            self._is_shut = True
            pool = self._pool
        pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """Take no more tasks and end the workers at once, whatever they are doing."""
        with self._lock:
            self._is_shut = True
            pool = self._pool
        # Executors end their workers by a public method from Python 3.14 on.
        workers = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()

    def _attempt(
        self,
        outer: Future[Any],
        number: int,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            pool = self._pool
        # Without our lock: a pool that breaks holds its own while it runs the function below.
        try:
            inner = pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:
            pool = self._instead_of(pool)
            inner = pool.submit(fn, *args, **kwargs)

        def ended(done: Future[Any]) -> None:
            if done.cancelled():
                outer.set_exception(CancelledError())
                return
            error = done.exception()
            if error is None:
                outer.set_result(done.result())
            elif isinstance(error, BrokenProcessPool) and number < _ATTEMPTS and not self._is_shut:
                logger.warning("a worker process died; its tasks are computed again")
                self._instead_of(pool)
                try:
                    self._attempt(outer, number + 1, fn, args, kwargs)
                except RuntimeError as refused:
                    outer.set_exception(refused)
            else:
                outer.set_exception(error)

        inner.add_done_callback(ended)

    def _instead_of(self, broken: ProcessPoolExecutor) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is broken:
                self._pool = self._new_pool()
            return self._pool

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.n, mp_context=get_context("spawn"), initializer=_use_one_thread
        )


def _use_one_thread() -> None:
    """Keep a worker to one thread: several workers on one core each do more than one on all."""
    # Ctrl-C in a terminal goes to workers too. The process that started them ends them; tracebacks
    # of theirs would bury what it says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Read when torch and numba are imported, which a worker has not done yet.
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
