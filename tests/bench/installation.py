"""An environment as users have it: the locked run-time packages and the exporter, and nothing else.

What tests need would falsify start-up and memory: structlog imports rich and httpx imports click where they are there.
"""

from __future__ import annotations

import re
import subprocess
import venv
from importlib.metadata import distributions
from pathlib import Path

from tests.process import environment

ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """A virtual environment of links to the packages that `requirements/runtime.txt` locks.

    Args:
        folder: where it is made.

    Attributes:
        python: its interpreter.
        environment: the variables for its processes: bytecode is kept, as an installation does; no proxies.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", symlinks=True, with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        site = next((folder / "venv").glob("lib/python*/site-packages"))
        for entry in (*_locked_entries(), ROOT / "exporter"):
            if not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
        kept = {
            name: value
            for name, value in environment().items()
            if not name.startswith("PYTHON") and not name.lower().endswith("_proxy")
        }
        self.environment = kept | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONUNBUFFERED": "1"}
        # Else the first process that is measured would compile, which costs it a second and 7 MiB.
        modules = "exporter.cli.serve, exporter.microsoft, exporter.schedule, exporter.status"
        subprocess.run([self.python, "-c", f"import {modules}"], env=self.environment, check=True)


def _locked_entries() -> set[Path]:
    """Return the files and folders in site-packages of every package that the lock names and this machine has."""
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    locked = {_normal(name) for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", lock, re.MULTILINE)}
    found: set[Path] = set()
    for package in distributions():
        if _normal(package.metadata["Name"]) in locked:
            tops = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
            found |= {Path(str(package.locate_file(top))) for top in tops}
    return found


def _normal(name: str) -> str:
    """Return a package's name in its normal form (https://packaging.python.org/specifications/name-normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()
