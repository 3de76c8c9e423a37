"""What the tests of the HTTP clients share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.leaks import watch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield from watch(caplog, capfd)
