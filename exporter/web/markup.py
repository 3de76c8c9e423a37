"""HTML in which every text is escaped: elements, inline SVG, and numbers and times in words."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from html import escape
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Html(str):
    """Markup; `tag` and `join` escape any other text."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: object) -> Html:
    """Return an element; `class_` stands for class, `aria_label` for aria-label; None is left out."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{head}>{join(*children)}</{name}>")


def join(*parts: str | None) -> Html:
    """Return the parts one after the other; None is left out."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts if part is not None))


def fill(template: str, **values: str | None) -> Html:
    """Return a template of HTML with its `$names` replaced; None is left out."""
    return Html(Template(template).substitute({name: join(value) for name, value in values.items()}))


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return names and their values as a description list."""
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in pairs), class_="facts")


def bar(ratio: float, target: float | None) -> Html:
    """Return a ratio in figures, whether it reaches its target, and both as a bar."""
    below = target is not None and ratio < target
    words = "no target" if target is None else f"{'below ' if below else ''}target {percent(target)}"
    mark = "" if target is None else f'<path class="mark" d="M{min(target, 1) * 100:.1f} 0v10"/>'
    drawn = Html(
        f'<svg class="{"bar below" if below else "bar"}" viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true">'
        f'<path class="all" d="M0 1h100v8H0z"/><path class="part" d="M0 1h{min(ratio, 1) * 100:.1f}v8H0z"/>{mark}</svg>'
    )
    return join(tag("b", percent(ratio)), " ", tag("span", words, class_="low" if below else "soft"), drawn)


def sparkline(ratios: Sequence[tuple[date, float]], target: float | None) -> Html:
    """Return ratios as a line over their dates, from 0 at the bottom to 100 % (or the highest) at the top."""
    (first, start), (last, end) = ratios[0], ratios[-1]
    days = (last - first).days
    top = max(1.0, *(ratio for _, ratio in ratios))

    def y(ratio: float) -> float:
        return 39 - ratio / top * 37

    line = " ".join(f"{(day - first).days / days * 200:.1f},{y(ratio):.1f}" for day, ratio in ratios)
    mark = "" if target is None else f'<path class="mark" d="M0 {y(target):.1f}h200"/>'
    title = f"Ratio from {percent(start)} on {first} to {percent(end)} on {last}"
    return Html(
        f'<svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f'<path class="area" d="M0,39 L{line} L200,39z"/>{mark}<polyline class="now" points="{line}"/></svg>'
    )


def percent(ratio: float) -> str:
    """Return a ratio as a percentage: `49.5%`, `50%`."""
    return f"{round(ratio * 100, 1):g}%"


def counted(number: int, noun: str) -> str:
    """Return `1 tenant`, `2 tenants`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def stamp(at: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def moment(at: datetime | None, now: datetime) -> str:
    """Return a time and how far it is from now."""
    return "not known" if at is None else f"{stamp(at)} ({ago(at, now)})"


def aged(day: date | None, now: datetime) -> str:
    """Return a day and how old it is."""
    if day is None:
        return "not known"
    return f"{day} ({_span(now - datetime(day.year, day.month, day.day, tzinfo=now.tzinfo))} old)"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how far a time is from now: `3 hours ago`, `in 5 minutes`."""
    if at is None:
        return "not known"
    if abs(now - at) < timedelta(seconds=1):
        return "now"
    return f"{_span(now - at)} ago" if at < now else f"in {_span(at - now)}"


def _span(time: timedelta) -> str:
    """Return a length of time in the largest unit of which there are at least two; 0 seconds if it is negative."""
    seconds = max(time.total_seconds(), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return counted(int(seconds // length), unit)
    return counted(int(seconds), "second")
