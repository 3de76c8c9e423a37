"""Durations as Prometheus writes them: 90s, 1h30m, 5y.

Source: `ParseDuration` and `Duration.String` of https://github.com/prometheus/common (model/time.go): the units stand
in falling order, each at most once, `0` needs none; a year is 365 days.
"""

from __future__ import annotations

import re
from typing import Final

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


def parse_duration(text: str) -> float:
    """Return the duration in seconds.

    Raises:
        ValueError: this is not a duration, or one of more than 292 years.
    """
    if text == "0":
        return 0.0
    match = _SHAPE.fullmatch(text)
    if not text or match is None or len(text) > 100:  # noqa: PLR2004 - far more digits than 292 years need
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
