"""Durations as Prometheus writes them, crontab lines and time zones: how they are read, checked and printed.

Durations (90s, 1h30m, 5y) follow `ParseDuration` and `Duration.String` of https://github.com/prometheus/common
(model/time.go): the units stand in falling order, each at most once, `0` needs none; a year is 365 days.
Crontab lines follow https://man7.org/linux/man-pages/man5/crontab.5.html without its `@daily` names.
"""

from __future__ import annotations

import math
import re
import zoneinfo
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from exporter.config.errors import nearest, rule
from exporter.config.types import Kind, Text

_MILLISECONDS: Final = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_SHAPE: Final = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _MILLISECONDS))
# A year, a week or a day is printed only where nothing is left over: 90m is 1h30m, but 8d is 8d.
_ONLY_EXACT: Final = frozenset({"y", "w", "d"})
# What 64 bits of nanoseconds hold: Prometheus refuses more.
_LONGEST: Final = 292 * _MILLISECONDS["y"]
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS: Final = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))


def parse_duration(text: str) -> float:
    """Return the duration in seconds.

    Raises:
        ValueError: this is not a duration, or one of more than 292 years.
    """
    if text == "0":
        return 0.0
    match = _SHAPE.fullmatch(text)
    if not text or match is None or len(text) > 100:  # far more digits than 292 years need
        raise ValueError("not a duration")
    total = sum(int(number) * _MILLISECONDS[unit] for unit, number in match.groupdict(default="0").items())
    if total > _LONGEST:
        raise ValueError("longer than 292 years")
    return total / 1000


def print_duration(seconds: float) -> str:
    """Return the duration as Prometheus prints it; `parse_duration` reads it back to the same number."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    parts = []
    for unit, size in _MILLISECONDS.items():
        if unit in _ONLY_EXACT and left % size:
            continue
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _duration(value: object) -> float:
    fix = "write it as 90s, 1h30m or 5y, largest unit first"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise rule("must be a duration", fix)
    if text.isdecimal() and text != "0":
        raise rule("is a duration without a unit", fix)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise rule(f"is {error}", fix) from None


def within(low: float, high: float = math.inf) -> AfterValidator:
    """Return the check that a duration is neither shorter nor longer than so many seconds."""

    def check(seconds: float) -> float:
        if seconds < low:
            raise rule(f"is shorter than {print_duration(low)}", f"write {print_duration(low)} or more")
        if seconds > high:
            raise rule(f"is longer than {print_duration(high)}", f"write {print_duration(high)} or less")
        return seconds

    return AfterValidator(check)


@dataclass(frozen=True, slots=True)
class Crontab:
    """When a schedule is due: the minutes, hours, days, months (1 to 12) and weekdays (0 is Sunday) that match."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


def parse_crontab(text: str) -> Crontab:
    """Return what a five-field crontab line means.

    Raises:
        ValueError: it is none, or it never comes due; the message says which field is wrong, without quoting it.
    """
    fields = text.split()
    if len(fields) != 5:
        raise ValueError("is not a line of five fields")
    minute, hour, day, month, weekday = fields
    crontab = Crontab(
        _field("minute", minute, 0, 59),
        _field("hour", hour, 0, 23),
        _field("day of the month", day, 1, 31),
        _field("month", month, 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
        # Sunday is both 0 and 7.
        frozenset(
            number % 7 for number in _field("weekday", weekday, 0, 7, {n: number for number, n in enumerate(_WEEKDAYS)})
        ),
    )
    # Where weekdays are given too, either is enough.
    every_weekday = len(crontab.weekdays) == len(_WEEKDAYS)
    if every_weekday and min(crontab.days) > max(_LONGEST_MONTHS[month] for month in crontab.months):
        raise ValueError("never runs: no such day in these months")
    return crontab


def _field(name: str, text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    """Return the numbers that one field matches."""
    numbers: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, stop = low, high
        else:
            start = _number(name, first, names)
            stop = _number(name, last, names) if dash else (high if slash else start)
        if not low <= start <= stop <= high:
            raise ValueError(f"its {name} field is not within {low}-{high}")
        width = _number(name, step, None) if slash else 1
        if width < 1:
            raise ValueError(f"its {name} field has a step of 0")
        numbers.update(range(start, stop + 1, width))
    return frozenset(numbers)


def _number(name: str, text: str, names: dict[str, int] | None) -> int:
    if names and text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        raise ValueError(f"its {name} field is not one of *, numbers, a-b, */n, or lists of these")
    return int(text)


def _crontab(value: str) -> str:
    try:
        parse_crontab(value)
    except ValueError as error:
        raise rule(str(error), 'write minute hour day month weekday, such as "15 */6 * * *"') from None
    return " ".join(value.split())


def _timezone(value: str) -> str:
    if value == "UTC":
        return value
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        match = nearest(value, zoneinfo.available_timezones())
        fix = f"did you mean {match}?" if match else "write a name such as Europe/Berlin, or UTC"
        raise rule("is not a known time zone", fix) from None
    return value


Duration = Annotated[float, BeforeValidator(_duration), PlainSerializer(print_duration), Kind("duration")]
CrontabLine = Annotated[Text, AfterValidator(_crontab), Kind("crontab")]
TimeZone = Annotated[Text, AfterValidator(_timezone), Kind("time zone")]
