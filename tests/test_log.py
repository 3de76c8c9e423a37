"""The log: what is taken out of it, and what it never does to a terminal."""

from __future__ import annotations

import io
import time

import pytest

from exporter.log import get_logger, redact, set_up


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Bearer abcdefghijkl", "Bearer [redacted]"),
        ("token eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln here", "token [token] here"),
        (
            "https://reports.office.com/data?a=1&sig=abc%2F&b=2",
            "https://reports.office.com/data?a=1&sig=[redacted]&b=2",
        ),
        ("client_secret=abc~def", "client_secret=[redacted]"),
        ("http://user:pass@proxy:3128/", "http://user:[redacted]@proxy:3128/"),
        ("http://user:p@ss:w@proxy:3128/", "http://user:[redacted]@proxy:3128/"),
        ("x-eyJhbGciOiJub25lIn0", "x-[token]"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_redaction_is_the_last_line_of_defence(text: str, redacted: str) -> None:
    """Even a text that should never have held a secret is logged without it."""
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text", ["eyJ", "-eyJaaaaaaaa", "bearer ", "bearer\t", "a.a+", "x://a:b", "://", "sig=", "sig", "token=&"]
)
def test_redaction_takes_linear_time(text: str) -> None:
    """A megabyte made to be searched again and again is redacted at once: a quadratic search would take hours."""
    began = time.process_time()
    redact(text * (1_000_000 // len(text)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_what_steers_a_terminal_is_not_logged(form: str) -> None:
    """Escape sequences and characters that turn a line's direction are blanks in the log, wherever they came from."""
    heard = io.StringIO()
    set_up("info", form, heard)
    get_logger("exporter.test").info("poll\x1b[2J", error="a\x1b[31m\u202eb\u2066c\x07", product_types=["\x9b0m"])
    error = ValueError("\x1b[0m")
    get_logger("exporter.test").error("two\nlines", exc_info=error)
    lines = heard.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "ValueError" in lines[1]
