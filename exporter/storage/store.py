"""Storage: last good reports, last outcomes, history, and calls to Graph."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from exporter.log import get_logger
from exporter.storage import database, records
from exporter.storage.database import StorageError, StorageLockedError, is_damage, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from exporter.state import Key, Snapshot, Standing

log = get_logger(__name__)

# Days of reports that are kept in memory while the file cannot be used, to be written to it later.
_DAYS_IN_MEMORY = 7


class Storage:
    """One SQLite file and its lock, or SQLite in memory while there is none; made by `open`.

    Every method may be called from any thread, and raises nothing but `StorageError`.

    Attributes:
        path: the folder; None where reports are kept in memory only.
        errors: how many operations failed, since the start.
        problem: why reports are not stored in `path`; empty while they are, or where there is no `path`.
        file: the database; None while it is in memory.
        identity: a random id of the file, or of this process' memory.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        """Begin in memory."""
        self.path = path
        self.errors = 0
        self.problem = ""
        self._clock = clock
        # One connection for all threads: a write takes a fraction of a millisecond; SQLite has one writer.
        self._guard = threading.Lock()
        self._connection = database.connect_memory()
        self._in_use = ExitStack()  # closes the connection and gives the lock back
        self._in_use.callback(self._connection.close)
        self._waits = True  # for another program's lock
        self.file: Path | None = None
        # Of the file and its lock.
        self._places: Mapping[Path, tuple[int, int] | None] = {}
        self.identity = _identity(self._connection)

    @classmethod
    def open(cls, path: Path | None, *, clock: Callable[[], float]) -> Self:
        """Open the storage in the folder `path`: create what is missing (0700, 0600), lock, check, migrate.

        A damaged file is set aside under another name and a fresh one begins; this is logged and counted. Where `path`
        cannot be used, `problem` says why, and storage continues in memory, with the last snapshots and calls if they
        can be read.

        Args:
            path: the folder; None for memory only.
            clock: Unix seconds.

        Raises:
            StorageLockedError: another process uses it.
        """
        storage = cls(path, clock)
        if path is None:
            log.info(
                "storage.path is not set: reports and the calls to Graph are kept in memory only, and are lost at a"
                " restart"
            )
            return storage
        try:
            storage._use_file(path)
        except StorageLockedError:
            storage.close()
            raise
        except StorageError as error:
            storage._fail(error)
            log.error(  # noqa: TRY400 - operators need the fix, not a traceback
                "reports are kept in memory only", error=error.message, hint=error.hint
            )
            file = path / database.FILE_NAME
            with (
                suppress(StorageError),
                storage_errors("read the storage", file),
                closing(database.connect_readonly(file)) as source,
            ):
                records.merge_standings(source, storage._connection, storage._unreadable)
        return storage

    @property
    def up(self) -> bool | None:
        """Whether reports are stored in `path`; None where there is no `path`."""
        return None if self.path is None else not self.problem

    @property
    def needs_repair(self) -> bool:
        """Whether reports are not stored in `path`, or its file is gone."""
        return self.path is not None and bool(self.problem or not self._in_place())

    @contextmanager
    def repairing(self) -> Iterator[None]:
        """Open `path` again where it is not in use, and write to it what was kept in memory meanwhile.

        What is saved inside decides whether reports are stored again.

        Raises:
            StorageError: `path` still cannot be used.
        """
        with self._guard:
            if not self._in_place():
                self._continue_in_memory()
            self._waits = True
        try:
            if self.file is None and self.path is not None:
                self._use_file(self.path)
        except StorageError as error:
            self._fail(error)
            raise
        errors = self.errors
        yield
        if self.errors == errors:
            self.problem = ""
            log.info("reports are stored again", path=str(self.path))

    def restore(self) -> dict[Key, Standing]:
        """Return the last good snapshot and the last outcome of every tenant's report, as they were saved.

        What cannot be read is left out, logged and counted.
        """
        with self._using("restore the last snapshots") as connection:
            return records.read_standings(connection, self._unreadable)

    def reports(self, key: Key, since: date) -> list[Snapshot]:
        """Read the reports with a refresh date from `since` on, oldest first."""
        with self._using("read the stored reports") as connection:
            return records.read_reports(connection, key, since, self._unreadable)

    def save(
        self, key: Key, tenant_name: str, standing: Standing, snapshot: Snapshot | None, max_age: float = math.inf
    ) -> None:
        """Write one poll in one transaction.

        The same refresh date again replaces; other numbers than before are kept as a revision. A newer report that is
        stored remains the last good one.

        Args:
            key: the tenant's report.
            tenant_name: the tenant's name now, for `history` after the tenant is gone from the configuration.
            standing: what the poll led to.
            snapshot: the report that the poll read, also if older than the one held; None if it failed.
            max_age: seconds without a good poll after which the report had been withdrawn.

        Raises:
            StorageError: nothing of it was written; the next `save` of this key writes the held report too.
        """
        with self._writing(f"save the poll of {tenant_name}") as connection:
            records.write_standing(connection, key, tenant_name, standing, snapshot, max_age=max_age)
            if self.file is None:
                records.keep_recent(connection, key, 0 if self.path is None else _DAYS_IN_MEMORY)

    def record_call(self, key: Key, at: float) -> None:
        """Write down that Graph is about to be called (`at` in Unix seconds); it survives a crash."""
        with self._writing("record a call to Graph") as connection:
            records.write_call(connection, key, at)

    def calls_since(self, since: float) -> dict[Key, list[float]]:
        """Return the calls to Graph from `since` on (Unix seconds), oldest first; an hour is kept."""
        with self._using("read the calls to Graph") as connection:
            return records.read_calls(connection, since)

    def retain(self, keep_seconds: float) -> int:
        """Delete the reports more than `keep_seconds` older than the newest one by refresh date, revisions included.

        The report that a tenant stands on goes only if the tenant was not polled since then either. Microsoft's dates
        count, so that a clock that is years ahead deletes nothing.

        Returns:
            How many reports were deleted; of a tenant that is forgotten, the last one.
        """
        with self._using("delete old reports") as connection:
            before = max(min(self._clock(), records.newest_report(connection)) - keep_seconds, 0.0)
        day = datetime.fromtimestamp(before, UTC).date()
        deleted, batch = 0, 1
        while batch:
            with self._writing("delete old reports") as connection:
                batch = records.delete_older(connection, day)
            deleted += batch
        with self._writing("delete old tenants") as connection:
            return deleted + records.delete_unseen(connection, before, day)

    def close(self) -> None:
        """Close the file and give the lock back; calling it again does nothing."""
        with self._guard:
            self._in_use.close()

    def _use_file(self, path: Path) -> None:
        """Change over from memory to the file in `path`, and write to it what memory holds."""
        file = path / database.FILE_NAME
        with storage_errors("open the storage", file), ExitStack() as opened:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = database.take_lock(path, self._clock())
            opened.callback(os.close, lock)
            damaged = database.make_way(file, self._clock())  # takes its time, in which other errors may be counted
            self.errors += damaged
            connection = database.connect(file)
            opened.callback(connection.close)
            with self._guard:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    records.merge(self._connection, connection, self._unreadable)
                self.identity = _identity(connection)
                self._in_use.close()
                self._in_use = opened.pop_all()
                self._connection, self.file = connection, file
                self._places = {
                    file: database.place_of(file),
                    path / database.LOCK_NAME: database.place_of(lock),
                }

    def _continue_in_memory(self) -> None:
        """Let go of a file that was deleted, replaced or damaged; its logs must be gone before a new one begins."""
        with suppress(sqlite3.Error):
            self._in_use.close()
        self._connection = database.connect_memory()
        self._in_use.callback(self._connection.close)
        self.file, self._places = None, {}

    def _in_place(self) -> bool:
        """Say whether the file and its lock are those that were opened, not deleted or replaced."""
        return all(database.place_of(file) == place for file, place in self._places.items())

    def _where(self) -> Path | str:
        return self.file or "memory"

    def _unreadable(self, what: str) -> None:
        self.errors += 1
        log.error(
            "a stored report is left out",
            file=str(self._where()),
            error=what,
            hint="all other reports are intact; the next good poll replaces it",
        )

    def _fail(self, error: StorageError) -> None:
        self.errors += 1
        self.problem = error.message
        self._waits = False

    @contextmanager
    def _using(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                with storage_errors(doing, self._where()):
                    self._refuse_replaced(doing)
                    # Of all operations since the last repair, only the first that meets a lock waits for it.
                    wait = database.BUSY_TIMEOUT if self._waits else 0
                    self._connection.execute(f"PRAGMA busy_timeout = {wait * 1000:.0f}")
                    yield self._connection
            except StorageError as error:
                self._fail(error)
                if is_damage(error.__cause__) or not self._in_place():
                    self._continue_in_memory()
                raise

    def _refuse_replaced(self, doing: str) -> None:
        if not self._in_place():
            raise StorageError(
                f"{self._where()}: cannot {doing}: the file or its lock was deleted or replaced while it was in use",
                hint="nothing to do: within a minute a file with the last numbers is in use again",
            )

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._using(doing) as connection, connection:  # commits, or rolls back on an exception
            connection.execute("BEGIN IMMEDIATE")
            yield connection


def _identity(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT id FROM storage").fetchone()[0])
