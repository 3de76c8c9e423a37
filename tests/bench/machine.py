"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from exporter import __version__

_ROOT = Path(__file__).resolve().parents[2]


def describe() -> str:
    """Return one sentence: date, processor, memory, system and versions."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with version {__version__} ({_revision()}): {_processor()}, "
        f"{cores} cores, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}, "
        f"prometheus-client {version('prometheus-client')}; load before the run {os.getloadavg()[0]:.1f}."
    )


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return " ".join(found[1].split()) if found else platform.machine()


def _revision() -> str:
    words = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no git"
