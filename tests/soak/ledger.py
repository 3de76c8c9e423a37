"""What storage has confirmed, and whether it still holds it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from exporter.state import Key
from exporter.storage.database import FILE_NAME
from tests.soak.errors import ViolationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from exporter.state import Snapshot, Standing

_DIGEST = 8
_RECORD = 4 + _DIGEST
_LOGGED = 1000
"""More polls than SQLite's log holds before it is written back: the last of them a power cut may take away."""


@dataclass(slots=True)
class Ledger:
    """What storage has confirmed.

    Attributes:
        standings: the last confirmed one of each report.
        editions: every confirmed set of numbers of each report, oldest first, as its day and digest: bytes, so that the
            ledger of months does not look like a leak.
        recent: the last confirmed polls, in order, since `before`.
        before: the standings before them.
        released: the reports that retention let go of since `before`: a power cut may bring them back.
        unrecorded: the last call to Graph of each report that storage did not take, by the exporter's clock.
    """

    standings: dict[Key, Standing] = field(default_factory=dict)
    editions: dict[Key, bytearray] = field(default_factory=dict)
    recent: deque[tuple[Key, Standing, Snapshot | None]] = field(default_factory=deque)
    before: dict[Key, Standing] = field(default_factory=dict)
    unrecorded: dict[Key, float] = field(default_factory=dict)
    released: set[Key] = field(default_factory=set)

    def take(self, key: Key, standing: Standing, snapshot: Snapshot | None) -> None:
        """Note a confirmed poll."""
        self.released.discard(key)
        self.standings[key] = standing
        self.recent.append((key, standing, snapshot))
        self.settle(_LOGGED)

    def release(self, before: float, kept: Mapping[Key, Standing]) -> None:
        """Note what retention left of the reports that nobody polled for long.

        Args:
            before: for how long: the moment of the last poll, Unix seconds.
            kept: what storage holds now.
        """
        for key, standing in list(self.standings.items()):
            if standing.last is not None and standing.last.at < before:
                self.released.add(key)
                if key in kept:
                    self.standings[key] = kept[key]
                else:
                    del self.standings[key]

    def settle(self, but: int = 0) -> None:
        """Take what was confirmed so far for safe, whatever happens, but for the last few polls."""
        while len(self.recent) > but:
            key, standing, snapshot = self.recent.popleft()
            self.before[key] = standing
            if snapshot is not None:
                self._edition(key, snapshot)
            if standing.snapshot is not None:
                self._edition(key, standing.snapshot)
        if not but:
            self.before = dict(self.standings)
            self.released.clear()

    def cut(self, restored: dict[Key, Standing]) -> bool:
        """Forget the last confirmed polls, so that `restored` is what is left; say whether there is such a moment."""
        wanted = self._sure(restored)
        state = self._sure(self.before)
        moments = [0] if state == wanted else []
        for number, (key, standing, _) in enumerate(self.recent, start=1):
            if key not in self.released:
                state[key] = standing
            if standing == wanted.get(key) and state == wanted:
                moments.append(number)
        if not moments:
            return False
        while len(self.recent) > moments[-1]:
            self.recent.pop()
        self.standings = dict(restored)
        self.settle()
        return True

    def _sure(self, standings: Mapping[Key, Standing]) -> dict[Key, Standing]:
        return {key: standing for key, standing in standings.items() if key not in self.released}

    def _edition(self, key: Key, snapshot: Snapshot) -> None:
        known = self.editions.setdefault(key, bytearray())
        record = _record(snapshot.refresh_date.toordinal(), [(row.product_type, row.counts) for row in snapshot.rows])
        same_day = (at for at in range(len(known) - _RECORD, -1, -_RECORD) if known[at : at + 4] == record[:4])
        last = next(same_day, None)
        if last is None or known[last : last + _RECORD] != record:
            known += record

    def check(self, folder: Path, oldest: int) -> int:
        """Hold the file against what was confirmed; return how many reports it holds.

        Args:
            folder: of the storage.
            oldest: the ordinal of the first day that retention has not touched.

        Raises:
            ViolationError: a report is lost, or its current numbers are not the last confirmed ones.
        """
        self.settle()
        found, current = _stored(folder)
        for key, known in self.editions.items():
            newest: dict[bytes, bytes] = {}
            for at in range(0, len(known), _RECORD):
                record = bytes(known[at : at + _RECORD])
                if int.from_bytes(record[:4]) < oldest:
                    continue
                newest[record[:4]] = record
                if record not in found.get(key, ()):
                    raise ViolationError(f"a stored report is lost: {key}, day {int.from_bytes(record[:4])}")
            for record in newest.values():
                if record not in current[key]:
                    raise ViolationError(f"old numbers are the current ones: {key}, {int.from_bytes(record[:4])}")
        return sum(map(len, found.values()))


def _stored(folder: Path) -> tuple[dict[Key, set[bytes]], dict[Key, set[bytes]]]:
    found: dict[Key, set[bytes]] = {}
    current: dict[Key, set[bytes]] = {}
    statement = """SELECT cloud, tenant_id, report, refresh_date, replaced_at IS NULL, json_group_array(
        json_array(product_type, json(counts))) FROM edition JOIN series ON series.id = edition.series
        JOIN product ON product.edition = edition.id GROUP BY edition.id"""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        for cloud, tenant_id, report, day, is_current, rows in connection.execute(statement):
            key = Key(cloud, tenant_id, report)
            numbers = [(name, tuple(counts)) for name, counts in json.loads(rows)]
            record = _record(date.fromisoformat(day).toordinal(), numbers)
            found.setdefault(key, set()).add(record)
            if is_current:
                current.setdefault(key, set()).add(record)
    return found, current


def _record(day: int, rows: list[tuple[str, tuple[int, ...]]]) -> bytes:
    return day.to_bytes(4) + hashlib.blake2b(repr(sorted(rows)).encode(), digest_size=_DIGEST).digest()
