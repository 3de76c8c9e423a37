"""Addresses that rules and dashboards link to."""

from __future__ import annotations

import tomllib
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def runbook() -> str:
    """Return where the runbook's pages are, one for each alert, from the one place of the repository's address."""
    urls = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["urls"]
    return f"{urls['Documentation']}/runbook"
