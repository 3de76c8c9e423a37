"""HTML elements that escape every text, and numbers and times for people."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Html(str):
    """Markup; any other text is escaped where `tag` takes it."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: object) -> Html:
    """Return an element; `class_` stands for class, `aria_label` for aria-label; None leaves out."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    body = "".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None)
    return Html(f"<{name}{head}>{body}</{name}>")


def join(parts: Iterable[str | None]) -> Html:
    """Return the parts in a row, texts escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts if part is not None))


def pairs(facts: Iterable[tuple[str, str]]) -> Html:
    """Return names and their values as a description list."""
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in facts), class_="facts")


def percent(ratio: float) -> str:
    """Return a ratio in per cent: `49.5%`, `50%`."""
    return f"{round(ratio * 100, 1):g}%"


def count(number: int, noun: str) -> str:
    """Return `1 tenant`, `2 tenants`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def stamp(at: datetime) -> str:
    """Return a moment in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def moment(at: datetime | None, now: datetime) -> str:
    """Return a moment and how far it is from now."""
    return "not known" if at is None else f"{stamp(at)} ({ago(at, now)})"


def aged(day: date | None, now: datetime) -> str:
    """Return a day and how old it is."""
    if day is None:
        return "not known"
    return f"{day} ({span(now - datetime(day.year, day.month, day.day, tzinfo=now.tzinfo))} old)"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how far a moment is from now: `3 hours ago`, `in 5 minutes`."""
    if at is None:
        return "not known"
    if abs(now - at) < timedelta(seconds=1):
        return "now"
    return f"{span(now - at)} ago" if at < now else f"in {span(at - now)}"


def span(time: timedelta) -> str:
    """Return a length of time in the largest unit of which it has two; 0 seconds where it is negative."""
    seconds = max(time.total_seconds(), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return count(int(seconds // length), unit)
    return count(int(seconds), "second")
