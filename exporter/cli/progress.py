"""Doing one thing for many tenants at the same time, with a count on a terminal."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MANY = 10

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(items: Sequence[Item], do: Callable[[Item], Result], *, concurrency: int, title: str) -> list[Result]:
    """Return `do` of every item, in the items' order; show progress on stderr if that is a terminal and there are many.

    Args:
        items: what for.
        do: what to do, called from several threads.
        concurrency: how many at the same time.
        title: what is being done, for the line that counts.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(do, item) for item in items]
        if len(items) > _MANY and sys.stderr.isatty():
            _show(futures, title)
        return [future.result() for future in futures]


def _show(futures: Sequence[Future[Result]], title: str) -> None:
    """Keep one line on stderr that counts; leave nothing behind."""
    for count, _ in enumerate(as_completed(futures), start=1):
        sys.stderr.write(f"\r{title}: {count} of {len(futures)}")
        sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
