"""Last good snapshots and history, in one SQLite file that survives crashes, full disks and damage."""

from exporter.storage.errors import StorageError, StorageLockedError, StorageNewerError
from exporter.storage.store import Storage

__all__ = ["Storage", "StorageError", "StorageLockedError", "StorageNewerError"]
