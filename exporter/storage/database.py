"""The database file: its errors, its lock, how it is opened, checked for damage and set aside."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.errors import ExporterError
from exporter.log import get_logger
from exporter.storage import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

log = get_logger(__name__)

FILE_NAME = "office365-activations.db"
LOCK_NAME = "office365-activations.lock"
BUSY_TIMEOUT = 1.0  # seconds to wait for another program's lock: a stop must be over within five
CHECK_LIMIT = 10.0  # seconds that the check for damage may take; SQLite finds later damage when it meets it

_CANNOT_WRITE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
# What SQLite keeps next to a file: https://www.sqlite.org/tempfiles.html
_COMPANIONS = ("", "-wal", "-shm", "-journal")

# By SQLite's primary result code: https://www.sqlite.org/rescode.html
_NOT_KEPT = "polling continues, and storage is tried again every minute"
_DAMAGED = "the file is damaged: within a minute it is set aside, and a new one is started with the last numbers"
_HINTS: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: f"free some space on the disk of storage.path; {_NOT_KEPT}",
    sqlite3.SQLITE_IOERR: f"check the disk of storage.path (space, quota, health); {_NOT_KEPT}",
    sqlite3.SQLITE_READONLY: f"make the folder of storage.path writable for this user; {_NOT_KEPT}",
    sqlite3.SQLITE_CANTOPEN: "make the folder of storage.path and its files accessible for this user",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: "another program keeps the file locked: stop it; storage is tried again every minute",
}


class StorageError(ExporterError):
    """An operation of storage failed; what it should have kept is not kept, everything before still is."""

    default_hint = "check storage.path: an existing folder, writable for this user, with free space"


class StorageLockedError(StorageError):
    """Another process uses this storage; the message says which."""

    default_hint = "stop the other process, or give this one a storage.path of its own"


def is_damage(error: BaseException | None) -> bool:
    """Say whether an exception means that the file is not a database (any more)."""
    return _primary_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code of an exception; 0 if it is not one of SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


@contextmanager
def storage_errors(doing: str, file: Path | str) -> Iterator[None]:
    """Turn what SQLite, the file system or a value that no file can hold raises inside into a `StorageError`.

    It says "cannot {doing}", where, why, and the fix.
    """
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        raise StorageError(f"{file}: cannot {doing}: {error}", hint=_HINTS.get(_primary_code(error), "")) from error


def take_lock(folder: Path, now: float) -> int:
    """Take the lock of `folder` and write down who holds it since `now` (Unix seconds).

    The lock file is kept when the lock is given back, because removing it could split the lock in two.

    Returns:
        The descriptor of the lock file: closing it, or the end of the process, gives the lock back.

    Raises:
        StorageLockedError: another process holds it.
        OSError: the lock file cannot be made, or the file system has no locks.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
    except BlockingIOError:
        holder = os.read(descriptor, 4096).decode(errors="replace") or "an unknown process"
        os.close(descriptor)
        raise StorageLockedError(f"{folder}: in use by {holder}") from None
    except BaseException:
        os.close(descriptor)
        raise
    with suppress(OSError):  # on a full disk the lock still holds, only without its holder's name
        command = " ".join(sys.argv)[:200]
        since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()}, `{command}`, since {since}"
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder.encode(errors="replace"))
    return descriptor


def _lock(descriptor: int) -> None:
    """Lock without waiting.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - exists on Windows only

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # Windows' locks forbid reading: lock far behind the holder's name
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl  # noqa: PLC0415 - does not exist on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def make_way(file: Path, now: float) -> bool:
    """Make the place of `file` ready for `connect`: what is damaged is set aside, the logs of a deleted file go.

    Returns:
        Whether there was a damaged file, set aside as of `now` (Unix seconds).

    Raises:
        OSError: its folder cannot be written.
        StorageError: it is not a regular file.
    """
    if not os.access(file.parent, os.W_OK):  # SQLite would call that an I/O error of the disk
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file.parent))
    _refuse_irregular(file)
    if not file.exists():  # the logs of a deleted file would damage a new one
        for suffix in _COMPANIONS[1:]:
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        return False
    damage = find_damage(file)
    if damage:
        _set_aside(file, damage, now)
    return bool(damage)


def connect_memory() -> sqlite3.Connection:
    """Open an empty database in memory."""
    return _opened(":memory:", schema.migrate)


def connect(file: Path) -> sqlite3.Connection:
    """Open `file` for writing, with the newest tables, creating it (mode 0600) where it is missing.

    WAL with synchronous=NORMAL: a process that is killed loses nothing that was committed, because the
    operating system holds it by then; only a power cut may take the last transactions, never the file's
    integrity; and a commit costs no fsync (https://www.sqlite.org/pragma.html#pragma_synchronous). Where the
    file system cannot do WAL, which needs shared memory, a rollback journal with synchronous=FULL, which its
    integrity needs.

    Raises:
        sqlite3.Error: the file cannot be opened or written, or is damaged.
        OSError: it cannot be created.
        StorageError: its schema is newer than this program; nothing was changed.
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        return _opened(file, _use_wal)
    except sqlite3.OperationalError as error:
        if _primary_code(error) == sqlite3.SQLITE_BUSY:  # says nothing about the file system
            raise
        return _opened(file, _use_rollback_journal)


def connect_readonly(file: Path) -> sqlite3.Connection:
    """Open `file` for reading only, also while another process writes it, and on a read-only mount.

    On a read-only mount or a full disk a file in WAL mode can be read only as an immutable one, which skips
    the logs: allowed if there is none, as after a clean end.

    Raises:
        sqlite3.Error: it is missing, unreadable or damaged.
        StorageError: it is not a regular file, its schema is newer than this program, or it was not closed cleanly
            and its folder cannot be written to repair it.
    """
    _refuse_irregular(file)
    uri = file.absolute().as_uri()
    try:
        return _opened(f"{uri}?mode=ro", _refuse_newer)
    except sqlite3.OperationalError as error:
        if _primary_code(error) not in _CANNOT_WRITE or not os.access(file, os.R_OK):
            raise
        for journal in (file.with_name(file.name + suffix) for suffix in ("-wal", "-journal")):
            if journal.exists() and journal.stat().st_size:
                raise StorageError(
                    f"{file}: cannot be read: {journal.name} must be merged first, and the folder cannot be written",
                    hint="run this where the folder is writable, or on a copy of the whole folder",
                ) from error
        return _opened(f"{uri}?immutable=1", _refuse_newer)


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


def place_of(file: Path | int) -> tuple[int, int] | None:
    """Return device and inode of `file`, which show whether it was replaced; None if it is gone."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of a descriptor, too
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse_irregular(file: Path) -> None:
    """Refuse a named pipe, a device or a folder in the place of the database: opening one may wait for ever.

    Raises:
        StorageError: `file` is one.
    """
    if file.exists() and not file.is_file():
        raise StorageError(
            f"{file}: is not a regular file", hint="move it away, or give storage.path a folder without one"
        )


def _refuse_newer(connection: sqlite3.Connection) -> None:
    found, known = schema.version(connection), schema.newest()
    if found > known:
        (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
        raise StorageError(
            f"{file}: written by a newer version of the exporter (schema {found}, this one knows {known}); it is left"
            " untouched",
            hint="run the newer version again, or give this one a storage.path of its own",
        )


def _set_aside(file: Path, damage: str, now: float) -> None:
    """Rename a damaged file and its companions, and log that."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = file.with_name(f"{file.name}.damaged-{stamp}")
    while aside.exists():
        aside = aside.with_name(aside.name + "-again")
    for suffix in _COMPANIONS:
        with suppress(FileNotFoundError):
            file.with_name(file.name + suffix).rename(aside.with_name(aside.name + suffix))
    log.error(
        "the database is damaged: it is set aside, and a new one is started",
        file=str(file),
        error=damage,
        set_aside=str(aside),
        hint=f"to save what can be saved: sqlite3 {aside} .recover",
    )


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
    schema.migrate(connection)  # locks for writing: only here a file system without shared memory shows itself


def _use_rollback_journal(connection: sqlite3.Connection) -> None:
    # With exclusive locking a file in WAL mode, moved here, needs no shared memory to be converted:
    # https://www.sqlite.org/wal.html#noshm
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    _refuse_newer(connection)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("PRAGMA synchronous = FULL")
    schema.migrate(connection)
