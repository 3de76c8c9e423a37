"""Durations and crontab lines."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.times import parse_crontab, parse_duration, print_duration
from exporter.config.types import split_host

YEAR = 365 * 86400.0


@pytest.mark.parametrize(
    ("text", "seconds", "printed"),
    [
        ("0", 0.0, "0s"),
        ("0s", 0.0, "0s"),
        ("1ms", 0.001, "1ms"),
        ("90s", 90.0, "1m30s"),
        ("5m", 300.0, "5m"),
        ("1h30m", 5400.0, "1h30m"),
        ("60m", 3600.0, "1h"),
        ("24h", 86400.0, "1d"),
        ("7d", 604800.0, "1w"),
        ("8d", 691200.0, "8d"),
        ("5y", 5 * YEAR, "5y"),
        ("1y1d", YEAR + 86400, "366d"),
        ("1d12h", 129600.0, "36h"),
        ("292y", 292 * YEAR, "292y"),
        ("4w5d6h7m8s9ms", 2_873_228.009, "798h7m8s9ms"),
    ],
)
def test_durations(text: str, seconds: float, printed: str) -> None:
    """Durations read and print as Prometheus' own do."""
    assert parse_duration(text) == seconds
    assert print_duration(seconds) == printed
    assert parse_duration(printed) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "1", "s", "1.5h", "-1s", "1h 30m", "1m1h", "1h1h", "1H", "\uff11s", "+1s", "293y", "9" * 5000 + "s", "1s\n"],
)
def test_bad_durations(text: str) -> None:
    """What Prometheus refuses is refused."""
    with pytest.raises(ValueError, match=r"not a duration|longer than 292 years"):
        parse_duration(text)


@given(st.integers(0, 292 * 365 * 86_400_000))
def test_any_duration_survives_printing(milliseconds: int) -> None:
    """Every duration is read back as it was printed."""
    assert parse_duration(print_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.text(alphabet="0123456789ywdhms", max_size=12))
def test_any_text_is_a_duration_or_none(text: str) -> None:
    """Any text is read, or refused with the declared error."""
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0


def test_crontab() -> None:
    """Names, ranges, lists and steps mean what crontab(5) says, with Sunday as 0 and 7."""
    found = parse_crontab("5-10/5,30 */6 1,15 jan-MAR mon-fri,7")
    assert found.minutes == {5, 10, 30}
    assert found.hours == {0, 6, 12, 18}
    assert found.days == {1, 15}
    assert found.months == {1, 2, 3}
    assert found.weekdays == {0, 1, 2, 3, 4, 5}
    assert parse_crontab("10/20 * * * *").minutes == {10, 30, 50}
    assert parse_crontab("0 0 29 2 *").days == {29}
    assert parse_crontab("0 0 31 2 mon").weekdays == {1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "*/x * * * *",
        "a * * * *",
        "1, * * * *",
        "-1 * * * *",
        "1--2 * * * *",
        "* * * mon *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "@daily",
        "0001 * * * *",
        "\uff11 * * * *",
    ],
)
def test_bad_crontabs(text: str) -> None:
    """What is no five-field line, or never comes due, is refused with a reason."""
    with pytest.raises(ValueError, match=r"field|never runs|not a line"):
        parse_crontab(text)


@given(st.text(alphabet="0123456789*/,- monjan"))
def test_any_text_is_a_crontab_or_none(text: str) -> None:
    """Any text is read to matching moments, or refused with the declared error."""
    try:
        found = parse_crontab(text)
    except ValueError:
        return
    assert all((found.minutes, found.hours, found.days, found.months, found.weekdays))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9365", ("", "9365")),
        ("127.0.0.1:80", ("127.0.0.1", "80")),
        ("[::1]:80", ("::1", "80")),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", "80")),
        ("Example.com:80", ("Example.com", "80")),
        ("::1:80", None),
        ("[::1]", None),
        ("x:", None),
        ("x", None),
        ("-x:80", None),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, str] | None) -> None:
    """An address falls into host and port, IPv6 in brackets."""
    assert split_host(text) == expected
