"""One process per storage: a lock that the operating system releases."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from exporter.storage.errors import StorageLockedError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = "office365-activations.lock"


class Lock:
    """The lock on one storage folder; held from `take` until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path, now: float) -> Self:
        """Take the lock of `folder` and write down who holds it since `now` (Unix seconds).

        Raises:
            StorageLockedError: another process holds it.
            OSError: the lock file cannot be made.
        """
        file = folder / LOCK_NAME
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
        except BlockingIOError:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise StorageLockedError(f"{folder}: in use by {holder}", holder=holder) from None
        except BaseException:
            os.close(descriptor)
            raise
        with suppress(OSError):  # on a full disk the lock still holds, only without its holder's name
            _write_holder(descriptor, now)
        return cls(descriptor)

    def is_in(self, folder: Path) -> bool:
        """Say whether this is still the lock of `folder`, which may have been deleted and made again."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), (folder / LOCK_NAME).stat())
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back; the file is kept, because removing it could split the lock in two."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


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
    else:
        import fcntl  # noqa: PLC0415 - does not exist on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_holder(descriptor: int, now: float) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(sys.argv)[:200],
        "since": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(holder).encode())


def _read_holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        holder: dict[str, Any] = json.loads(os.read(descriptor, 4096))
        return "process {pid} on {host}, `{command}`, since {since}".format_map(holder)
    except (ValueError, KeyError, TypeError, OSError):
        return "an unknown process"
