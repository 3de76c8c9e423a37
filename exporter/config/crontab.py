"""Checks the five fields of a crontab line and spells them out as numbers.

The form is that of https://man7.org/linux/man-pages/man5/crontab.5.html without its `@daily` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS: Final = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))


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
    if len(fields) != 5:  # noqa: PLR2004 - minute, hour, day, month, weekday
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
    if not (text.isascii() and text.isdigit() and len(text) < 4):  # noqa: PLR2004 - no field has more digits
        raise ValueError(f"its {name} field is none of *, numbers, a-b, */n, or lists of these")
    return int(text)
