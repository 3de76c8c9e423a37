"""Our own budget of Graph calls, under Microsoft's limit whatever configuration, reloads and restarts ask for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.snapshot import Key

WINDOW = 600.0
"""Microsoft counts calls over ten minutes (https://learn.microsoft.com/graph/throttling-limits)."""

LIMITS = {"csv": 10, "json": 70}
"""Calls of one tenant's report in a window: Microsoft allows an app 14 by CSV and 100 by JSON."""


class Budget:
    """Counts the Graph calls of each tenant's report.

    Args:
        clock: Unix seconds.
        calls: the calls made before, by an earlier process.
        record: told of each call before it is made, so that a crash forgets none.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        calls: Mapping[Key, Sequence[float]] | None = None,
        record: Callable[[Key, float], None] = lambda _key, _at: None,
    ) -> None:
        self._clock = clock
        self._record = record
        self._calls = {key: sorted(made) for key, made in (calls or {}).items()}
        self._lock = threading.Lock()

    def spend(self, key: Key, form: str) -> bool:
        """Take one call from the budget; say False, and take none, where it is spent."""
        now = self._clock()
        with self._lock:
            made = self._current(key, now)
            if len(made) >= LIMITS[form]:
                return False
            made.append(now)
        self._record(key, now)
        return True

    def remaining(self, key: Key, form: str) -> int:
        """Return how many calls may still be made now."""
        with self._lock:
            return max(LIMITS[form] - len(self._current(key, self._clock())), 0)

    def free_at(self, key: Key, form: str) -> float:
        """Return the moment from which a call may be made, Unix seconds: now, or when an old one leaves the window."""
        now = self._clock()
        with self._lock:
            made = self._current(key, now)
            over = len(made) - LIMITS[form]
            return now if over < 0 else made[over] + WINDOW

    def changes_at(self, key: Key) -> float | None:
        """Return when the next call leaves the window; None where none is in it."""
        with self._lock:
            made = self._current(key, self._clock())
            return made[0] + WINDOW if made else None

    def _current(self, key: Key, now: float) -> list[float]:
        # After a clock that jumped back, a call "in the future" counts as made now: never lost, never for days.
        made = [min(at, now) for at in self._calls.get(key, ()) if at > now - WINDOW]
        self._calls[key] = made
        return made
