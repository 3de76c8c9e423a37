"""Reads files that others write: configuration, secrets, certificates."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
MAX_SECRET = 256 * KIB
"""The largest secret, certificate or token file read, in bytes."""


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
        raise OSError(errno.EINVAL, "this is not a file path", str(path)) from None
    if len(content) > limit:
        size = f"{limit // MIB} MiB" if limit >= MIB else f"{limit // KIB} KiB"
        raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
    return content


def read_value(path: Path) -> str:
    """Return the one value that a secret file holds, without byte-order mark, blanks and line breaks around it.

    Raises:
        OSError: as `read_file`.
        ValueError: it is not text or is empty; the message says which, in words.
    """
    try:
        # Windows' editors put a byte-order mark before the text.
        value = read_file(path, MAX_SECRET).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if not value:
        raise ValueError("it is empty")
    return value


def _open(path: str, flags: int) -> int:
    # Windows has neither flag.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
