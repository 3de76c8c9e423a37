"""The storage on disk: last good snapshots, last outcomes, the history of reports, and the calls to Graph."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from exporter.log import get_logger
from exporter.storage import records, schema
from exporter.storage.errors import StorageError, storage_errors
from exporter.storage.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    from exporter.state import Key, Snapshot, Standing

log = get_logger(__name__)

# What SQLite keeps beside a file: https://www.sqlite.org/tempfiles.html
_COMPANIONS = ("", "-wal", "-shm", "-journal")


class Storage:
    """One SQLite file and its lock; made by `open`.

    Every method may be called from any thread. All but `open` raise nothing but `StorageError`.

    Attributes:
        file: the file.
        events: what went wrong while it was opened and was overcome, a sentence each.
    """

    def __init__(
        self,
        file: Path,
        connection: sqlite3.Connection,
        lock: Lock,
        clock: Callable[[], float],
        events: tuple[str, ...] = (),
    ) -> None:
        self.file = file
        self.events = events
        self._connection: sqlite3.Connection | None = connection
        self._lock = lock
        self._clock = clock
        # One connection for all threads: a write takes a fraction of a millisecond; SQLite has one writer.
        self._guard = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float]) -> Self:
        """Open the storage in the folder `path`: create what is missing (0700, 0600), lock, check, migrate.

        A damaged file is set aside under another name and a fresh one begins; `events` says so.

        Args:
            path: the folder.
            clock: Unix seconds.

        Raises:
            StorageLockedError: another process uses it.
            StorageNewerError: a newer version wrote it; it was left untouched.
            StorageError: it cannot be used.
        """
        file = path / schema.FILE_NAME
        with storage_errors("open the storage", file):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = Lock.take(path, clock())
            try:
                connection, events = _open_file(file, clock)
            except BaseException:
                lock.release()
                raise
        return cls(file, connection, lock, clock, events)

    def restore(self) -> dict[Key, Standing]:
        """Return the last good snapshot and the last outcome of every tenant's report, as they were saved.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._using("restore the last snapshots") as connection:
            return records.read_standings(connection)

    def reports(self, key: Key, since: date) -> list[Snapshot]:
        """Read the reports with a refresh date from `since` on, oldest first.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._using("read the stored reports") as connection:
            return records.read_reports(connection, key, since)

    def save(self, key: Key, tenant_name: str, standing: Standing, snapshot: Snapshot | None) -> None:
        """Write one poll in one transaction.

        The same refresh date again replaces; other numbers than before are kept as a revision.

        Args:
            key: the tenant's report.
            tenant_name: the tenant's name now, for `history` after the tenant is gone from the configuration.
            standing: what the poll led to.
            snapshot: the report that the poll read, also if older than the one held; None if it failed.

        Raises:
            StorageError: nothing of it was written; the next `save` of this key writes the held report too.
        """
        with self._writing(f"save the poll of {tenant_name}") as connection:
            records.write_standing(connection, key, tenant_name, standing, snapshot)

    def record_call(self, key: Key, at: float) -> None:
        """Write down that Graph is about to be called (`at` in Unix seconds); it survives a crash.

        Raises:
            StorageError: it was not written.
        """
        with self._writing("record a call to Graph") as connection:
            records.write_call(connection, key, at)

    def calls_since(self, since: float) -> dict[Key, list[float]]:
        """Return the calls to Graph from `since` on (Unix seconds), oldest first; an hour is kept.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._using("read the calls to Graph") as connection:
            return records.read_calls(connection, since)

    def retain(self, keep_seconds: float) -> int:
        """Delete the reports whose refresh date is more than `keep_seconds` ago, revisions included.

        The report that a tenant stands on goes only if the tenant was not polled for as long either.

        Returns:
            How many reports were deleted.

        Raises:
            StorageError: some or all could not be deleted.
        """
        before = max(self._clock() - keep_seconds, 0.0)
        deleted = 0
        with self._writing("delete old reports") as connection:
            records.release_unseen(connection, before)
        while batch := self._delete_older(datetime.fromtimestamp(before, UTC).date()):
            deleted += batch
        with self._writing("delete old tenants") as connection:
            records.delete_unseen(connection, before)
        return deleted

    def backup(self, target: Path) -> None:
        """Write a consistent copy to the file `target`, replacing it whole; polls go on meanwhile.

        The copy needs no companion files and can be used as it is (https://www.sqlite.org/backup.html).

        Raises:
            StorageError: it could not be made; `target` is as it was.
        """
        partial = target.with_name(target.name + ".partial")
        with storage_errors(f"back up to {target}", self.file):
            try:
                os.close(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
                with (
                    closing(schema.connect_readonly(self.file)) as source,
                    closing(sqlite3.connect(partial)) as copy,
                ):
                    source.backup(copy)
                    copy.execute("PRAGMA journal_mode = DELETE")
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and give the lock back; calling it again does nothing.

        Raises:
            StorageError: closing failed; what was saved is saved nevertheless.
        """
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                with storage_errors("close the storage", self.file):
                    connection.close()
            finally:
                self._lock.release()

    def _delete_older(self, before: date) -> int:
        with self._writing("delete old reports") as connection:
            return records.delete_older(connection, before)

    @contextmanager
    def _using(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._guard, storage_errors(doing, self.file):
            if self._connection is None:
                raise StorageError(f"{self.file}: cannot {doing}: the storage is closed")
            yield self._connection

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._using(doing) as connection, connection:  # commits, or rolls back on an exception
            connection.execute("BEGIN IMMEDIATE")
            yield connection


def _open_file(file: Path, clock: Callable[[], float]) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    if not os.access(file.parent, os.W_OK):  # SQLite would call that an I/O error of the disk
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file.parent))
    events: tuple[str, ...] = ()
    damage = schema.find_damage(file) if file.exists() else ""
    if damage:
        events = (_set_aside(file, damage, clock()),)
    connection = schema.connect(file)
    try:
        schema.migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection, events


def _set_aside(file: Path, damage: str, now: float) -> str:
    """Rename a damaged file and its companions; return the sentence that says so."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = file.with_name(f"{file.name}.damaged-{stamp}")
    while aside.exists():
        aside = aside.with_name(aside.name + "-again")
    for suffix in _COMPANIONS:
        with suppress(FileNotFoundError):
            file.with_name(file.name + suffix).rename(aside.with_name(aside.name + suffix))
    sentence = f"{file} is damaged ({damage}): set aside as {aside.name}, a fresh one begins"
    log.error(sentence, hint=f"to save what can be saved: sqlite3 {aside} .recover")
    return sentence
