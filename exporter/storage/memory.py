"""Storage that keeps nothing beyond the process: where `storage.path` is unset or cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.storage.errors import StorageError
from exporter.storage.records import CALL_MEMORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from exporter.state import Key, Snapshot, Standing


class MemoryStorage:
    """The interface of `Storage`, without a file.

    Args:
        standings: what could still be read of a storage that cannot be written.
        calls: its calls to Graph, oldest first.
        events: what went wrong on the way here, a sentence each.
    """

    def __init__(
        self,
        standings: Mapping[Key, Standing] | None = None,
        calls: Mapping[Key, list[float]] | None = None,
        events: tuple[str, ...] = (),
    ) -> None:
        self._standings = dict(standings or {})
        self._calls = {key: tuple(times) for key, times in (calls or {}).items()}
        self.events = events

    def restore(self) -> dict[Key, Standing]:
        """Return the standings it was made with."""
        return dict(self._standings)

    def reports(self, key: Key, since: date) -> list[Snapshot]:  # noqa: ARG002 - the interface of `Storage`
        """Return nothing, for nothing is kept."""
        return []

    def save(self, key: Key, tenant_name: str, standing: Standing, snapshot: Snapshot | None) -> None:
        """Keep nothing."""

    def record_call(self, key: Key, at: float) -> None:
        """Remember a call to Graph (`at` in Unix seconds), so that a reload spends no quota."""
        recent = tuple(time for time in self._calls.get(key, ()) if time >= at - CALL_MEMORY)
        self._calls[key] = (*recent, at)  # one assignment: safe among threads that poll different keys

    def calls_since(self, since: float) -> dict[Key, list[float]]:
        """Return the calls to Graph from `since` on (Unix seconds)."""
        recent = {key: [time for time in times if time >= since] for key, times in dict(self._calls).items()}
        return {key: times for key, times in recent.items() if times}

    def retain(self, keep_seconds: float) -> int:  # noqa: ARG002 - the interface of `Storage`
        """Delete nothing, for nothing is kept."""
        return 0

    def backup(self, target: Path) -> None:
        """Refuse.

        Raises:
            StorageError: always.
        """
        raise StorageError(f"{target}: there is nothing to copy: storage is in memory", hint="set storage.path")

    def close(self) -> None:
        """Do nothing."""
