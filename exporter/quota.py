"""The exporter's call budget: Graph calls stay below Microsoft's limit over reloads and restarts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.state import Key

WINDOW = 600.0
"""Microsoft counts calls over ten minutes (https://learn.microsoft.com/graph/throttling-limits)."""

LIMITS = {"csv": 7, "json": 50}
"""Calls of one tenant's report in a window: half of what Microsoft allows an app, so that two replicas fit."""

_SLACK = 1e-5
"""Seconds by which a call leaves the window early, so that rounding never makes `free_at` a moment too soon."""


class Budget:
    """Counts the Graph calls of each tenant's report.

    The window is measured on the monotonic clock: a wall clock that jumps neither opens it nor closes it for days.

    Args:
        clock: Unix seconds.
        calls: the calls made before, by an earlier process, Unix seconds.
        record: called before each call is made, so that a crash forgets none.
        monotonic: seconds; `clock` where left out.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        calls: Mapping[Key, Sequence[float]] | None = None,
        record: Callable[[Key, float], None] = lambda _key, _at: None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic or clock
        self._record = record
        self._lock = threading.Lock()
        wall, now = clock(), self._monotonic()
        # After a clock that jumped back, a call "in the future" counts as made now: never lost, never for days.
        self._calls = {key: sorted(now - max(wall - at, 0.0) for at in made) for key, made in (calls or {}).items()}

    def spend(self, key: Key, form: str) -> bool:
        """Take one call from the budget; say False, and take none, where it is spent."""
        now = self._monotonic()
        with self._lock:
            made = self._current(key, now)
            if len(made) >= LIMITS[form]:
                return False
            made.append(now)
        self._record(key, self._clock())
        return True

    def remaining(self, key: Key, form: str) -> int:
        """Return how many calls may still be made now."""
        with self._lock:
            return max(LIMITS[form] - len(self._current(key, self._monotonic())), 0)

    def free_at(self, key: Key, form: str) -> float:
        """Return the moment from which a call may be made, Unix seconds: now, or when an old one leaves the window."""
        now = self._monotonic()
        with self._lock:
            made = self._current(key, now)
            over = len(made) - LIMITS[form]
            return self._clock() + (0.0 if over < 0 else made[over] + WINDOW - now)

    def changes_in(self, key: Key) -> float:
        """Return in how many seconds the next call leaves the window; infinity where none is in it."""
        now = self._monotonic()
        with self._lock:
            made = self._current(key, now)
            return made[0] + WINDOW - now if made else float("inf")

    def _current(self, key: Key, now: float) -> list[float]:
        made = [min(at, now) for at in self._calls.get(key, ()) if at > now - WINDOW + _SLACK]
        self._calls[key] = made
        return made
