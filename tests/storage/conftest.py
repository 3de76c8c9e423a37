"""Fixtures for storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.storage import Storage
from tests.storage.samples import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of storage.path, not there yet."""
    return tmp_path / "storage"


@pytest.fixture
def storage(folder: Path, clock: Clock) -> Iterator[Storage]:
    """A fresh storage."""
    storage = Storage.open(folder, clock=clock)
    yield storage
    storage.close()
