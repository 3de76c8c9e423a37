"""Storages in a known state, and other processes on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.storage import Storage
from tests.storage.samples import CONTOSO, START, good, report, standing

if TYPE_CHECKING:
    from tests.storage.samples import Clock

FILE = "office365-activations.db"
FILLED = {CONTOSO: standing(good(report(0, START)))}
ROOT = Path(__file__).resolve().parents[2]


def fill(folder: Path, clock: Clock) -> None:
    """Leave a storage with one poll in it, cleanly closed."""
    storage = Storage.open(folder, clock=clock)
    snapshot = report(0, START)
    storage.save(CONTOSO, "contoso", standing(good(snapshot)), snapshot)
    storage.record_call(CONTOSO, START)
    storage.close()


def started(task: str, folder: Path) -> subprocess.Popen[str]:
    """Start another process on the storage in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.other_process", task, folder],
        cwd=ROOT,
        # They are killed, or may write nothing: no place to collect coverage.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
