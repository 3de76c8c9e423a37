"""Blocking work in threads next to the event loop, which never delay the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class BusyError(Exception):
    """Too much work is waiting already."""


class Worker:
    """One daemon thread, started with the first work, that does one piece of work after the other.

    The standard library's executors are joined when the interpreter ends: a password check that takes a minute would
    hold up SIGTERM for that long.

    Args:
        name: the thread's.
        limit: how much work may wait or be under way.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._load = 0
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have `work` done in the thread; await the result. To be called on the event loop.

        Giving up the wait does not stop the work.

        Raises:
            BusyError: `limit` is reached, or this worker has ended.
        """
        if self._load >= self._limit:
            raise BusyError(self._name)
        self._load += 1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(lambda: self._deliver(loop, future, work))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return future

    def end(self) -> None:
        """Take no more work, forget what waits, and end the thread after the work that is under way."""
        self._limit = 0
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()

    def _deliver(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], work: Callable[[], T]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            finish = partial(_set_exception, future, error)
        else:
            finish = partial(_set_result, future, result)
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._finish, finish)

    def _finish(self, finish: Callable[[], None]) -> None:
        self._load -= 1
        finish()


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
