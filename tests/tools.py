"""Real programs that tests hold the exporter against."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).resolve().parent.parent / ".tools" / "bin"


def require(name: str) -> Path:
    """Find a real program, or end the test.

    It is looked for where `tests/fetch_tools.py` puts programs, next to the running Python, and on the PATH.
    A name that ends in 3 (`prometheus3`, `promtool3`, `alertmanager3`) is that program's newest line.

    Returns:
        The program's absolute path.

    Raises:
        pytest.skip.Exception: it is missing on somebody's machine.
        pytest.fail.Exception: it is missing in CI (`CI=true`), where nothing may be skipped unnoticed.
    """
    folders = (str(TOOLS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        missing(f"{name} is missing: run tests/fetch_tools.py (Debian and Ubuntu), or install it")
    return Path(found).absolute()


def missing(reason: str) -> NoReturn:
    """End a test for which this machine lacks something.

    Raises:
        pytest.skip.Exception: on somebody's machine.
        pytest.fail.Exception: in CI (`CI=true`), where nothing may be skipped unnoticed.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def memory_folder() -> Path | None:
    """Return a folder whose files are in memory; None where there is none, or it cannot be written."""
    folder = Path("/dev/shm")  # noqa: S108 - only looked for
    return folder if os.access(folder, os.W_OK) else None


def free_address() -> str:
    """Return an address of loopback, `host:port`, at which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"
