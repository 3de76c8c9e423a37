"""Virtual time: the true one, and the exporter's wall clock, which may be wrong."""

from __future__ import annotations

from dataclasses import dataclass

START = 1_790_000_000.0
"""When every run begins, Unix seconds."""


@dataclass(slots=True)
class Time:
    """Time that passes only when somebody waits.

    Attributes:
        true: Microsoft's time, Unix seconds; never goes back.
        skew: how far the exporter's clock is ahead of it, seconds.
    """

    true: float = START
    skew: float = 0.0

    def now(self) -> float:
        """Return what the exporter takes for the time, Unix seconds."""
        return self.true + self.skew

    def truth(self) -> float:
        """Return the true time, Unix seconds; as monotonic as a monotonic clock."""
        return self.true

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.true += max(seconds, 0.0)

    def reach(self, wall: float) -> None:
        """Let time pass until the exporter's clock shows `wall`, if that is ahead."""
        self.sleep(wall - self.now())
