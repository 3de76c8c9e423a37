"""What must never be read by anybody: secrets, tokens and preauthenticated addresses.

Every secret that these tests invent holds the word `hush`; the simulation's own secrets hold `8Q~`, as Microsoft's do,
and its tokens and preauthenticated addresses hold a JSON web token.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from exporter.errors import ExporterError
    from exporter.state import Failure

_LEAK = re.compile(r"hush|8Q~|eyJ[\w-]{8,}|PRIVATE KEY|aHVza|h1c2|odXNo")
"""The last: `hush` in base64, in each of its three alignments."""


def assert_clean(text: str) -> None:
    """Fail if a text holds anything secret."""
    found = _LEAK.search(text)
    assert found is None, f"{found.group()!r} leaks in: {text}"


def said(error: ExporterError | Failure) -> str:
    """Return everything that people read of an error; fail if it holds anything secret."""
    text = f"{error.message}\n{error.hint}\n{error.request_id}\n{error!r}"
    assert_clean(text)
    return f"{error.message}\n{error.hint}"


def watch(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fail at the end of a test if anything secret was logged at debug, or printed."""
    yield
    for record in caplog.get_records("call"):
        assert_clean(f"{record.getMessage()} {record.exc_text or ''}")
    output, errors = capfd.readouterr()
    assert_clean(output)
    assert_clean(errors)
