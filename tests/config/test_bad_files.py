"""One bad file a rule, each with the exact lines that it earns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.config.loading import errors

if TYPE_CHECKING:
    from collections.abc import Callable

BAD = Path(__file__).parent / "bad"


@pytest.mark.parametrize("name", sorted(path.name for path in BAD.glob("*.yaml")))
def test_bad_file(name: str, monkeypatch: pytest.MonkeyPatch, golden: Callable[[Path, str], None]) -> None:
    """Each bad file is refused with its own lines: file, key path, rule and fix, and never a secret."""
    monkeypatch.chdir(BAD)
    lines = errors({"config.file": name}, {})
    golden((BAD / name).with_suffix(".txt"), "".join(f"{line}\n" for line in lines))
    assert "hunter2" not in "".join(lines)
    assert all("; " in line and ": " in line and "\n" not in line for line in lines)
