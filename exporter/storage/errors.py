"""Errors of storage, each with file, cause and fix."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.errors import ExporterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Everything that SQLite, the file system or a value that no file can hold raises.
STORAGE_FAILURES = (sqlite3.Error, OSError, ValueError, OverflowError)

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


class StorageNewerError(StorageError):
    """The file was written by a newer version of the exporter; it was left untouched."""

    default_hint = "run the newer version again, or give this one a storage.path of its own"


def primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code of an exception; 0 if it is not one of SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_damage(error: BaseException | None) -> bool:
    """Say whether an exception means that the file is not a database (any more)."""
    return primary_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def storage_errors(doing: str, file: Path | str) -> Iterator[None]:
    """Turn whatever fails inside into a `StorageError`: "cannot {doing}", where, why and the fix.

    Raises:
        StorageError: one of the exceptions above was raised inside.
    """
    try:
        yield
    except STORAGE_FAILURES as error:
        hint = _HINTS.get(primary_code(error), "")
        raise StorageError(f"{file}: cannot {doing}: {error}", hint=hint) from error
