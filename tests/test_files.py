"""Files that others write are read without waiting, and to a limit."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from exporter.files import read_file

if TYPE_CHECKING:
    from pathlib import Path


def test_content(tmp_path: Path) -> None:
    """A regular file within the limit is returned as it is."""
    path = tmp_path / "file"
    path.write_bytes(b"\xff" * 1024)
    assert read_file(path, 1024) == b"\xff" * 1024


def test_link(tmp_path: Path) -> None:
    """A symbolic link to a regular file, as Kubernetes mounts secrets, is followed."""
    (tmp_path / "file").write_text("secret")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", 10) == b"secret"


@pytest.mark.parametrize(("size", "words"), [(2048, "larger than 2 KiB"), (3 << 20, "larger than 3 MiB")])
def test_too_large(tmp_path: Path, size: int, words: str) -> None:
    """A file beyond the limit is an error that says the limit."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * (size + 1))
    with pytest.raises(OSError, match=words):
        read_file(path, size)


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "absent", "nul"])
def test_no_regular_file(tmp_path: Path, kind: str) -> None:
    """Whatever is not a regular file is an error at once, never a wait."""
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "nul":
        path = tmp_path / "x\0y"
    with pytest.raises(OSError) as caught:  # noqa: PT011 - each platform has its own words for some of them
        read_file(path, 10)
    assert caught.value.strerror
