"""Blocking work in threads next to the event loop, which never delay the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class BusyError(Exception):
    """Too much work is waiting already."""


class Worker:
    """One daemon thread, started with the first job, that does one job after the other.

    The standard library's executors are joined when the interpreter ends: a password check that takes a minute would
    delay SIGTERM by that long.

    Args:
        name: the thread's name.
        limit: how many jobs may wait or run.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._load = 0
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do `work` in the thread; return the future of its result. To be called on the event loop.

        Cancelling the future does not stop the work.

        Raises:
            BusyError: `limit` is reached, or this worker has ended.
        """
        if self._load >= self._limit:
            raise BusyError(self._name)
        self._load += 1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            self._load -= 1
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("T", result))

        def job() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - it belongs to whoever awaits the future
                error = raised
            # On a closed loop nobody awaits the future any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, result, error)

        self._queue.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return future

    def end(self) -> None:
        """Take no more jobs, drop those that wait, and end the thread after the one that runs."""
        self._limit = 0
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            job()
