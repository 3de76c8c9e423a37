"""Files that others write (configuration, secrets, certificates): how they are read, and noticed when they change."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
MAX_SECRET = 256 * KIB
"""The largest secret, certificate or token file read, in bytes."""

States: TypeAlias = "Mapping[Path, tuple[int, ...]]"


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


class Watch:
    """Notices that files have changed.

    A change counts once it is seen twice alike: a file that is still being written says something else than its writer.

    Args:
        files: returns the files that matter at this moment.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._known = self._last = self.now()

    def now(self) -> States:
        """Return what of each file changes when its content, its place or its permissions do; nothing for no file."""
        states: dict[Path, tuple[int, ...]] = {}
        for path in self._files():
            try:
                status = path.stat()
                states[path] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            except (OSError, ValueError):
                states[path] = ()
        return states

    def changed(self) -> bool:
        """Check the files; return True at the second check that sees the same change, until it is accepted."""
        now = self.now()
        last, self._last = self._last, now
        return now == last and now != self._known

    def differences(self, now: States) -> set[Path]:
        """Return the known files that differ in `now` from what was accepted last."""
        return {path for path, state in now.items() if self._known.get(path, state) != state}

    def accept(self, before: States) -> None:
        """Take the files as known after they were read.

        Args:
            before: what `now` returned before that, so that a change in between is still noticed.
        """
        now = self.now()
        self._known = {path: before.get(path, state) for path, state in now.items()}
        self._last = now
