"""Which format and encoding a scrape gets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.negotiation import TEXT, format_for, wants_gzip

if TYPE_CHECKING:
    from collections.abc import Callable

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7," + PROMETHEUS_3
)
TEXT_ONLY = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/*", False),
        (BROWSER, False),
        (TEXT_ONLY, False),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (PROTOBUF_FIRST, True),
        ("application/openmetrics-text", True),
        ("APPLICATION/OpenMetrics-Text ; Version=1.0.0", True),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', True),
        ("application/openmetrics-text;version=1.0.0;escaping=underscores", True),
        ("application/openmetrics-text;version=1.0.0;escaping=no-such-scheme", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=2.0.0,*/*;q=0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0,*/*", False),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.4", False),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.3", True),
        ("application/openmetrics-text,text/plain", True),
        ("text/plain,application/openmetrics-text", True),
        ("application/openmetrics-text;q=0.001", True),
        ("application/openmetrics-text;q=2", False),
        ("application/openmetrics-text;q=high", False),
        ("application/*", True),
        ("text/plain;q=0,*/*", True),
        ("text/plain;version=0.0.4;q=0.2,text/plain;q=0.9,application/openmetrics-text;q=0.5", True),
        ("application/json", False),
        ("application/vnd.google.protobuf", False),
        ('x/y;a="application/openmetrics-text,;q=1"', False),
        ("application/openmetrics-text;version=1.0.0 , , ;", True),
        (";;;,,,", False),
    ],
)
def test_format(accept: str | None, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """The client's most specific and most welcome range decides; text is the answer to all doubt."""
    assert format_for(accept)[0] is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1, gzip;q=0.8", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("identity;q=0.5, gzip", True),
        ("identity, gzip;q=0.5", False),
        ("identity;q=0", False),
        ("identity;q=0, *", True),
        ("deflate", False),
        ("gzip;q=nonsense", False),
    ],
)
def test_encoding(accept_encoding: str | None, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """Gzip goes to clients that accept it and do not prefer to have none."""
    assert wants_gzip(accept_encoding) is expected


@given(st.text())
def test_anything_can_be_negotiated(header: str) -> None:
    """No header makes the negotiation fail."""
    assert format_for(header)[0] in (True, False)
    assert wants_gzip(header) in (True, False)


@given(st.text(alphabet=' ,;=*/."\\q01tex/plain', max_size=200))
def test_crooked_headers_can_be_negotiated(header: str) -> None:
    """No combination of separators and quotes makes the negotiation fail."""
    assert format_for(header)[0] in (True, False)
    assert wants_gzip(header) in (True, False)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (TEXT_ONLY, TEXT),
        (PROMETHEUS_2, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        (
            'application/openmetrics-text;escaping="Values"',
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values",
        ),
        (
            "application/openmetrics-text;escaping=\r\nX: y",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
def test_the_content_type_names_the_escaping(accept: str, content_type: str) -> None:
    """OpenMetrics carries the escaping scheme that was asked for, underscores where none or an unknown one was."""
    assert format_for(accept)[1] == content_type


@pytest.mark.parametrize(
    "header",
    [
        *(
            piece * 8192
            for piece in (",", ";", '"', "\\", '\\"', 'a"', 'a,"', 'a;"', "a,", "a;q=1,", "=", ' "', "*/*,")
        ),
        "a/b;" + "x=y;" * 8192,
        'a/b;x="' + "y" * 32768,
        "text/plain;version=0.0.4;q=0.5," * 1024,
    ],
)
def test_no_header_costs_a_millisecond(header: str) -> None:
    """Whatever fills a header, the event loop loses less than a millisecond to it."""
    assert cost(format_for, header) < 0.001
    assert cost(wants_gzip, header) < 0.001


def cost(parse: Callable[[str], object], header: str) -> float:
    """Return the least seconds of processor time that `parse` takes of ten times, other than from memory."""
    found = []
    for number in range(10):
        began = time.thread_time()
        parse(header + str(number))
        found.append(time.thread_time() - began)
    return min(found)
