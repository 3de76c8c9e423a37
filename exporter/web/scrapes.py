"""The bound on concurrent scrapes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Scrapes:
    """The scrapes under way, at most `limit` of them.

    A client that reads slowly, or not at all, must not keep others out: where all places are taken, the oldest scrape
    that has had `patience` seconds is dropped in favour of the new one.

    Args:
        limit: how many at once.
        patience: seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._patience = patience
        self._clock = clock
        self._running: dict[int, tuple[float, Callable[[], None]]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._running)

    def enter(self, drop: Callable[[], None]) -> Callable[[], None] | None:
        """Take a place; None if there is none, else the function that gives it back.

        Args:
            drop: cuts this scrape's connection.
        """
        now = self._clock()
        if len(self._running) >= self._limit and not self._make_room(now):
            return None
        place, self._next = self._next, self._next + 1
        self._running[place] = (now, drop)
        return lambda: self._leave(place)

    def _leave(self, place: int) -> None:
        self._running.pop(place, None)

    def _make_room(self, now: float) -> bool:
        place, (since, drop) = next(iter(self._running.items()))
        if now - since < self._patience:
            return False
        del self._running[place]
        drop()
        return True
