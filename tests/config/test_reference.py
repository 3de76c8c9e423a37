"""docs/configuration.md is the code's own word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config.reference import reference
from exporter.config.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_page(golden: Callable[[Path, str], None]) -> None:
    """The page in docs/ is what the code says."""
    golden(PAGE, reference())


def test_every_setting_is_in_it() -> None:
    """Each setting's variable, and its flag if it has one, stand in the page; blocks aside, whose keys do."""
    page = reference()
    for one in settings():
        assert one.has_defaults or f"`{one.variable}`" in page
        assert not one.flag or f"`{one.flag}`" in page


def test_command() -> None:
    """`python -m exporter.config.reference` prints it."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter.config.reference"], capture_output=True, check=True, text=True
    )
    assert done.stdout == reference()
