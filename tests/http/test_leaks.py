"""The watch for leaks is awake."""

from __future__ import annotations

import base64

import pytest

from exporter.errors import NetworkError
from exporter.log import get_logger
from tests.http.leaks import assert_clean, said, watch

LEAKS = (
    "hush",
    "x8Q~y",
    "eyJhbGciOiJub25lIn0.e30.",
    *(base64.b64encode(f"{x}hush!".encode()).decode() for x in ("", "a", "ab")),
)


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_seen(leak: str) -> None:
    """A secret by its mark, a token by its form, and both in what people read of an error."""
    with pytest.raises(AssertionError, match="leaks in"):
        assert_clean(f"before {leak} after")
    with pytest.raises(AssertionError, match="leaks in"):
        said(NetworkError("message", hint=leak))


def test_a_leak_in_the_log_is_seen(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """What is logged at debug is looked at, and so is what is printed."""
    for leak in (lambda: get_logger("exporter.x").debug("said", secret="hush"), lambda: print("hush")):  # noqa: T201
        watching = watch(caplog, capfd)
        next(watching)
        leak()
        with pytest.raises(AssertionError, match="leaks in"):
            next(watching)
        caplog.clear()
        capfd.readouterr()
