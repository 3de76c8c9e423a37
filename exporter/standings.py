"""Where every tenant's reports stand, in memory: what a poll writes and rendering reads."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.snapshot import Key, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.config.tenants import Tenant
    from exporter.snapshot import Outcome

_NOTHING = Standing()


def key_of(tenant: Tenant, report: str) -> Key:
    """Return what the tenant's report is stored under."""
    cloud = tenant.cloud.name if tenant.cloud.name != "custom" else tenant.cloud.graph
    return Key(cloud, tenant.tenant_id, report)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording an outcome came to: the standing before and after it, and whether the report was an older one."""

    before: Standing
    after: Standing

    @property
    def stale(self) -> bool:
        """Whether the poll was good but its report older than the one held."""
        return self.after.failures_in_row == 0 and self.after.snapshot is self.before.snapshot is not None


class Standings:
    """The standing of every tenant's report, and this process's counts of polls.

    Args:
        restored: what storage kept.
    """

    def __init__(self, restored: Mapping[Key, Standing] | None = None) -> None:
        self._standings = dict(restored or {})
        self._polls: Counter[Key] = Counter()
        self._failures: Counter[Key] = Counter()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Standing:
        """Return the standing; an empty one before the first outcome."""
        return self._standings.get(key, _NOTHING)

    def polls(self, key: Key) -> tuple[int, int]:
        """Return how many polls ended since the start, and how many of them failed."""
        return self._polls[key], self._failures[key]

    def record(self, key: Key, outcome: Outcome) -> Recorded:
        """Take an outcome in."""
        with self._lock:
            before = self.get(key)
            after = before.after(outcome)
            self._standings[key] = after
            self._polls[key] += 1
            self._failures[key] += outcome.failure is not None
        return Recorded(before, after)

    def keys(self) -> set[Key]:
        """Return whose standings are known."""
        return set(self._standings)

    def add(self, standings: Mapping[Key, Standing]) -> None:
        """Take in standings that were kept elsewhere."""
        with self._lock:
            self._standings.update(standings)

    def keep_only(self, keys: Iterable[Key]) -> None:
        """Forget every standing but these."""
        wanted = set(keys)
        with self._lock:
            self._standings = {key: standing for key, standing in self._standings.items() if key in wanted}
