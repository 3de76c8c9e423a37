"""Storage, watched: what it has confirmed, and the ways in which it fails and dies."""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from exporter.storage import Storage, StorageError
from exporter.storage.database import FILE_NAME
from tests.soak.errors import KilledError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.state import Key, Snapshot, Standing
    from tests.soak.ledger import Ledger

# A log of fewer bytes was never written back into the file (https://www.sqlite.org/wal.html#automatic_checkpoint):
# whatever is cut off its end, what is left is a state that was.
_WHOLE_LOG = 1000 * 4096
_ROOMY = 1 << 30


class FailingConnection:
    """A connection whose every statement fails, as on a disk that is gone."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self.real = real

    def execute(self, *_: object) -> object:
        """Fail."""
        raise sqlite3.OperationalError("disk I/O error")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.real.rollback()

    def close(self) -> None:
        """Close the real one."""
        self.real.close()


class Disk(Storage):
    """A storage that a run watches, fails and kills; made by `open`, then given its ledger.

    Attributes:
        ledger: what it has confirmed.
        failed: how many of its operations failed.
        dead: whether its process has died at a statement, and the copy of its files was made.
    """

    ledger: Ledger
    failed: int = 0
    _statements = 0
    dead = False

    def save(
        self, key: Key, tenant_name: str, standing: Standing, snapshot: Snapshot | None, max_age: float = math.inf
    ) -> None:
        """Save, and note it once it is confirmed."""
        super().save(key, tenant_name, standing, snapshot, max_age)
        self._die()
        self.ledger.take(key, standing, snapshot)

    def record_call(self, key: Key, at: float) -> None:
        """Record, and note what was not."""
        try:
            super().record_call(key, at)
        except StorageError:
            self.ledger.unrecorded[key] = at
            raise
        self._die()

    def retain(self, keep_seconds: float) -> int:
        """Delete old reports, and note what is left of the tenants that nobody polls."""
        deleted = super().retain(keep_seconds)
        self.ledger.release(self._clock() - keep_seconds, self.restore())
        return deleted

    @contextmanager
    def _using(self, doing: str) -> Iterator[sqlite3.Connection]:
        try:
            with super()._using(doing) as connection:
                yield connection
        except StorageError:
            self.failed += 1
            raise

    def fill(self) -> None:
        """Let the disk be full: no file grows any more."""
        if isinstance(self._connection, sqlite3.Connection):
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            self._connection.execute(f"PRAGMA max_page_count = {pages}")

    def fail(self) -> None:
        """Let every operation fail."""
        if isinstance(self._connection, sqlite3.Connection):
            self._connection = FailingConnection(self._connection)  # type: ignore[assignment]

    def heal(self) -> None:
        """Let it work again."""
        connection: Any = self._connection
        if isinstance(connection, FailingConnection):
            self._connection = connection.real
        if isinstance(self._connection, sqlite3.Connection):
            self._connection.execute(f"PRAGMA max_page_count = {_ROOMY}")

    def kill_in(self, statements: int, target: Path) -> None:
        """Let the process die at one of the next SQL statements, with the files as they are then copied to `target`."""
        connection: Any = self._connection
        if not isinstance(connection, sqlite3.Connection):
            return
        self._statements, folder = statements, self.path
        assert folder is not None

        def look(_statement: str) -> None:
            self._statements -= 1
            if self._statements == 0:
                copy_files(folder, target)
                self.dead = True

        connection.set_trace_callback(look)

    def _die(self) -> None:
        if self.dead:
            raise KilledError


def copy_files(folder: Path, target: Path) -> None:
    """Copy the storage as a dying process leaves it: without a lock, and without the shared memory next to the log."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in folder.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, target / file.name)


def cut_power(folder: Path, rng: random.Random) -> bool:
    """Cut the end of the log off, as a power cut may; say whether that leaves a state that was."""
    log = folder / f"{FILE_NAME}-wal"
    if not log.exists() or not 0 < log.stat().st_size < _WHOLE_LOG:
        return False
    with log.open("r+b") as file:
        file.truncate(rng.randrange(log.stat().st_size))
    return True
