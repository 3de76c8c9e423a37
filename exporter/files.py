"""Reading files that others write: configuration, secrets, certificates."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB


def read_file(path: Path, limit: int) -> bytes:
    """Return what a regular file holds.

    It is opened without blocking, so that a pipe or a device in its place stops no thread.

    Args:
        path: the file.
        limit: the most bytes that it may hold.

    Raises:
        OSError: it cannot be read, is not a regular file or is larger; `strerror` says which, in words.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", str(path))
            content = file.read(limit + 1)
    except ValueError:
        raise OSError(errno.EINVAL, "this is no path of a file", str(path)) from None
    if len(content) > limit:
        size = f"{limit // MIB} MiB" if limit >= MIB else f"{limit // KIB} KiB"
        raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
    return content


def _open(path: str, flags: int) -> int:
    # Windows has neither flag.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
