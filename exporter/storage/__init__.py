"""Last good reports and history in one SQLite file."""

from exporter.storage.database import StorageError, StorageLockedError
from exporter.storage.store import Storage

__all__ = ["Storage", "StorageError", "StorageLockedError"]
