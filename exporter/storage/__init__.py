"""Last good reports and history in one SQLite file."""

from exporter.storage.errors import StorageError, StorageLockedError, StorageNewerError
from exporter.storage.store import Storage

__all__ = ["Storage", "StorageError", "StorageLockedError", "StorageNewerError"]
