"""Blocking work in threads next to the event loop, which never delay the end of the process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

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
        self._places = threading.Semaphore(limit)
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = False

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do `work` in the thread; return the future of its result. To be called on the event loop.

        Cancelling the future stops only work that has not begun.

        Raises:
            BusyError: `limit` is reached, or this worker has ended.
        """
        if self._ended or not self._places.acquire(blocking=False):
            raise BusyError(self._name)
        future: Future[T] = Future()
        self._queue.put((future, work))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return asyncio.wrap_future(future)

    def end(self) -> None:
        """Take no more jobs, and end the thread after those that are not cancelled."""
        self._ended = True
        self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                self._places.release()
                continue
            try:
                finish = partial(future.set_result, work())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the future
                finish = partial(future.set_exception, error)
            self._places.release()  # before whoever awaits the future can bring the next job
            finish()
