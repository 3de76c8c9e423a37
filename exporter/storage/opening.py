"""How `serve` and `once` come to their storage, whatever state the disk is in."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from exporter.log import get_logger
from exporter.storage import records, schema
from exporter.storage.errors import FAULTS, StorageError, StorageLockedError, StorageNewerError
from exporter.storage.memory import MemoryStorage
from exporter.storage.store import Storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = get_logger(__name__)


def open_or_memory(path: Path | None, *, clock: Callable[[], float]) -> tuple[Storage | MemoryStorage, str]:
    """Open the storage in the folder `path`; where it cannot be used, go on in memory and say so in the log.

    A storage that can be read but not written gives at least its last snapshots and calls.

    Args:
        path: the folder; None for memory only.
        clock: Unix seconds.

    Returns:
        The storage, and what people should know about it (empty if all is well). Its `events` are what
        failed, for the metric that counts failed operations of storage.

    Raises:
        StorageLockedError: another process uses it.
    """
    if path is None:
        note = "storage.path is not set: reports are kept in memory only and are gone after a restart"
        log.info(note)
        return MemoryStorage(), note
    try:
        storage = Storage.open(path, clock=clock)
    except StorageLockedError:
        raise
    except StorageError as fault:
        note = f"{fault.message}; going on in memory only"
        log.error(note, hint=fault.hint)  # noqa: TRY400 - people need the mend, not our call stack
        return _readable_rest(path, fault, clock()), note
    return storage, "; ".join(storage.events)


def _readable_rest(path: Path, fault: StorageError, now: float) -> MemoryStorage:
    if isinstance(fault, StorageNewerError):
        return MemoryStorage(events=(fault.message,))
    try:
        with closing(schema.connect_readonly(path / schema.FILE_NAME)) as connection:
            standings = records.read_standings(connection)
            calls = records.read_calls(connection, now - records.CALL_MEMORY)
    except (StorageError, *FAULTS):
        return MemoryStorage(events=(fault.message,))
    return MemoryStorage(standings, calls, events=(fault.message,))
