"""The schema of the SQLite file, its migrations, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exporter.storage.errors import StorageError, StorageNewerError, is_damage, primary_code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE_NAME = "office365-activations.db"
BUSY_TIMEOUT = 1.0  # seconds to wait for another program's lock: a stop must be over within five
CHECK_LIMIT = 10.0  # seconds that the check for damage may take; SQLite finds later damage when it meets it

_CANNOT_WRITE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}

# Each migration is a tuple of statements; a file's `user_version` says how many of them it has seen.
# Never change one that was released: append.
#
# - series: a tenant's report and its last outcome; `held` is the edition on /metrics.
# - edition: one set of numbers that Microsoft gave for one refresh date. The current one of a date has no
#   `replaced_at`; the others are its revisions. `published_at` and `confirmed_at` are the first and the last
#   good poll with it on /metrics; both are empty if it never was there (a report older than the held one).
# - product: an edition's rows; `counts` is a JSON array in the order of the report's columns, to which a newer version
#   may append.
# - withdrawal: the times in which an edition was not on /metrics because the last good poll was too long ago.
# - call: the calls to Graph, for the quota budget.
# - storage: a random id of this file, so that two replicas do not poll in the same second.
#
# No STRICT tables: SQLite before 3.37, which some systems with Python 3.11 still have, takes them for damage.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE series (
            id INTEGER PRIMARY KEY,
            cloud TEXT NOT NULL,
            tenant_id TEXT NOT NULL,
            report TEXT NOT NULL,
            tenant TEXT NOT NULL DEFAULT '',
            held INTEGER REFERENCES edition(id),
            last_success REAL,
            failures_in_row INTEGER NOT NULL DEFAULT 0,
            last_at REAL,
            last_duration REAL,
            last_rejected_rows INTEGER,
            last_not_before REAL,
            last_reason TEXT,
            last_message TEXT,
            last_hint TEXT,
            last_request_id TEXT,
            UNIQUE (cloud, tenant_id, report)
        )
        """,
        "CREATE INDEX series_held ON series (held)",
        """
        CREATE TABLE edition (
            id INTEGER PRIMARY KEY,
            series INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
            refresh_date TEXT NOT NULL,
            collected_at REAL NOT NULL,
            request_id TEXT NOT NULL,
            published_at REAL,
            confirmed_at REAL,
            replaced_at REAL
        )
        """,
        "CREATE UNIQUE INDEX edition_current ON edition (series, refresh_date) WHERE replaced_at IS NULL",
        "CREATE INDEX edition_series ON edition (series, published_at)",
        """
        CREATE TABLE product (
            edition INTEGER NOT NULL REFERENCES edition(id) ON DELETE CASCADE,
            product_type TEXT NOT NULL,
            counts TEXT NOT NULL,
            PRIMARY KEY (edition, product_type)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE call (
            id INTEGER PRIMARY KEY,
            series INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
            at REAL NOT NULL
        )
        """,
        "CREATE INDEX call_series ON call (series, at)",
    ),
    (
        """
        CREATE TABLE withdrawal (
            edition INTEGER NOT NULL REFERENCES edition(id) ON DELETE CASCADE,
            since REAL NOT NULL,
            until REAL NOT NULL
        )
        """,
        "CREATE INDEX withdrawal_edition ON withdrawal (edition)",
        "CREATE TABLE storage (id TEXT NOT NULL)",
        "INSERT INTO storage VALUES (lower(hex(randomblob(8))))",
    ),
)

WITHDRAWALS = 2
"""The version from which on there is the table of withdrawals; a file that is only read may be older."""


def connect_memory() -> sqlite3.Connection:
    """Open an empty database in memory, with the newest tables."""
    return _opened(":memory:", migrate)


def connect(file: Path) -> sqlite3.Connection:
    """Open `file` for writing, creating it (mode 0600) where it is missing.

    WAL with synchronous=NORMAL: a process that is killed loses nothing that was committed, because the
    operating system holds it by then; only a power cut may take the last transactions, never the file's
    integrity; and a commit costs no fsync (https://www.sqlite.org/pragma.html#pragma_synchronous). Where the
    file system cannot do WAL, which needs shared memory, a rollback journal with synchronous=FULL, which its
    integrity needs.

    Raises:
        sqlite3.Error: the file cannot be opened or written, or is damaged.
        OSError: it cannot be created.
        StorageNewerError: its schema is newer than this program; nothing was changed.
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        return _opened(file, _use_wal)
    except sqlite3.OperationalError:
        return _opened(file, _use_rollback_journal)


def connect_readonly(file: Path) -> sqlite3.Connection:
    """Open `file` for reading only, also while another process writes it, and on a read-only mount.

    On a read-only mount or a full disk a file in WAL mode can be read only as an immutable one, which skips
    the logs: allowed if there is none, as after a clean end.

    Raises:
        sqlite3.Error: it is missing, unreadable or damaged.
        StorageError: it is no regular file, or was not closed cleanly, and its folder cannot be written to repair that.
        StorageNewerError: its schema is newer than this program.
    """
    refuse_irregular(file)
    uri = file.absolute().as_uri()
    try:
        return _opened(f"{uri}?mode=ro", _refuse_newer)
    except sqlite3.OperationalError as error:
        if primary_code(error) not in _CANNOT_WRITE or not os.access(file, os.R_OK):
            raise
        for log in (file.with_name(file.name + suffix) for suffix in ("-wal", "-journal")):
            if log.exists() and log.stat().st_size:
                raise StorageError(
                    f"{file}: cannot be read: {log.name} must be merged first, and the folder cannot be written",
                    hint="run this where the folder is writable, or on a copy of the whole folder",
                ) from error
        return _opened(f"{uri}?immutable=1", _refuse_newer)


def refuse_irregular(file: Path) -> None:
    """Refuse a named pipe, a device or a folder in the place of the database: opening one may wait for ever.

    Raises:
        StorageError: `file` is one.
    """
    if file.exists() and not file.is_file():
        raise StorageError(
            f"{file}: is not a regular file", hint="move it away, or give storage.path a folder without one"
        )


def migrate(connection: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, all in one transaction.

    Raises:
        sqlite3.Error: it failed; the file is as it was.
    """
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for migration in migrations[version(connection) :]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the file has seen."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def find_damage(file: Path, limit: float = CHECK_LIMIT) -> str:
    """Check whether `file` is a sound database, for at most `limit` seconds.

    Returns:
        What is wrong with it; empty if nothing was found, or if it cannot be read for another reason.
    """
    deadline = time.monotonic() + limit
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT, isolation_level=None)
    timer = threading.Timer(limit, connection.interrupt)
    timer.start()
    try:
        answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        answer = str(error) if is_damage(error) else "ok"
    finally:
        timer.cancel()
        timer.join()
        connection.close()
    # What an interrupted check reports may only be its end.
    return "" if answer == "ok" or time.monotonic() >= deadline else answer.replace("\n", " ")


def _opened(file: Path | str, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    # Guarded by a lock of `Storage`, so any thread may use it.
    connection = sqlite3.connect(
        file, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, uri=isinstance(file, str)
    )
    try:
        # A text that is no UTF-8 must cost its own row only, not the whole query.
        connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
        connection.execute("PRAGMA foreign_keys = ON")
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    _refuse_newer(connection)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError("the file system cannot do WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    _take_write_lock(connection)


def _use_rollback_journal(connection: sqlite3.Connection) -> None:
    # With exclusive locking a file in WAL mode, moved here, needs no shared memory to be converted:
    # https://www.sqlite.org/wal.html#noshm
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    _refuse_newer(connection)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("PRAGMA synchronous = FULL")
    _take_write_lock(connection)


def _take_write_lock(connection: sqlite3.Connection) -> None:
    """Lock once for writing: only here a file system without shared memory shows itself."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")


def _refuse_newer(connection: sqlite3.Connection) -> None:
    found = version(connection)
    if found > len(MIGRATIONS):
        (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
        raise StorageNewerError(
            f"{file}: written by a newer version of the exporter (schema {found}, this one knows "
            f"{len(MIGRATIONS)}); it is left untouched"
        )
