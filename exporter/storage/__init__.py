"""Last good snapshots and history, in one SQLite file that survives crashes, full disks and damage."""

from exporter.storage.errors import StorageError, StorageLockedError, StorageNewerError
from exporter.storage.memory import MemoryStorage
from exporter.storage.opening import open_or_memory
from exporter.storage.store import Storage

__all__ = [
    "MemoryStorage",
    "Storage",
    "StorageError",
    "StorageLockedError",
    "StorageNewerError",
    "open_or_memory",
]
