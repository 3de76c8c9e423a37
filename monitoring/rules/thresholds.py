"""Every number of the rules, in one place: change one by `make rules ARGS="--set NAME=VALUE"`."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
MINUTE, HOUR, DAY = 60, 3600, 86400


class Window(int):
    """A duration in seconds that a rule looks back or waits; written as Prometheus writes it."""

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read a duration such as 90m or 1d12h.

        Raises:
            ValueError: it is none.
        """
        if not re.fullmatch(r"(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?", text) or not text:
            raise ValueError(f"{text!r} is not a duration; write it like 90m or 1d")
        return cls(sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text)))

    def __str__(self) -> str:
        """Return it in the largest unit that divides it."""
        unit = next(name for name, seconds in _UNITS.items() if name != "w" and self % seconds == 0)
        return f"{int(self) // _UNITS[unit]}{unit}"

    def __format__(self, spec: str) -> str:
        return str(self)


class Age(Window):
    """A duration that is compared with a timestamp of the exporter: never shortened for a trial run."""


@dataclass(frozen=True)
class Thresholds:
    """The numbers of the rules."""

    slow_interval: Window = Window(5 * MINUTE)  # how often alerts that look back over weeks are evaluated
    pending: Window = Window(5 * MINUTE)  # `for` of nearly every alert: short, since a replaced pod starts it again
    hold: Window = Window(2 * HOUR)  # a value counts as present for so long, over gaps and replaced pods
    hold_past: Window = Window(3 * DAY)  # and a value that others are compared with, over an outage of the exporter
    keep: Window = Window(15 * MINUTE)  # keep_firing_for of alerts that may flap

    ratio_best_of: Window = Window(2 * DAY)  # the best value of so long has to be below the target
    ratio_settled: Window = Window(14 * DAY)  # licences and products newer than this do not count yet
    ratio_fell_points: float = 0.10
    ratio_fell_window: Window = Window(7 * DAY)
    ratio_min_users: int = 25  # ratios of fewer users jump, and so do numbers of users
    assigned_dropped_to: float = 0.5  # of what was assigned a day before
    assigned_dropped_window: Window = Window(1 * DAY)
    report_stale: Age = Age(96 * HOUR)

    failing_memory: Window = Window(90 * MINUTE)  # a tenant counts as failing for so long after a failure
    failing_window: Window = Window(6 * HOUR)  # of these six hours,
    failing_step: Window = Window(5 * MINUTE)  # counted in steps of five minutes,
    failing_operator: Window = Window(90 * MINUTE)  # so many with a reason that does not pass by itself
    failing_passing: Window = Window(216 * MINUTE)  # or so many with any reason (three fifths)
    many_tenants: int = 10
    many_share: float = 0.25
    many_passing: Window = Window(72 * MINUTE)  # of the six hours, with a reason that may pass: more than one poll
    many_keep: Window = Window(2 * HOUR)  # outlasts failing_memory, so that it ends after the single alerts
    no_data: Window = Window(6 * HOUR)
    tenant_gone: Window = Window(1 * DAY)  # for so long it is reported that a tenant was there
    expiring_share: float = 1 / 3  # of report.max_age that is left

    credential_expiring: Age = Age(30 * DAY)
    credential_expiring_soon: Age = Age(7 * DAY)
    rows_rejected: Window = Window(6 * HOUR)
    quota_exhausted: Window = Window(1 * HOUR)
    down: Window = Window(10 * MINUTE)
    down_memory: Window = Window(7 * DAY)  # an exporter that was there within so long is missed
    absent: Window = Window(15 * MINUTE)
    internal_window: Window = Window(1 * HOUR)

    def shortened(self) -> Thresholds:
        """Return them for a trial run, with windows of seconds; ages and shares are as they were."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        windows = {name: value for name, value in known.items() if type(value) is Window}
        changes: dict[str, Any] = {name: Window(min(max(value // 720, 5), 30)) for name, value in windows.items()}
        return replace(self, **changes)

    def changed(self, setting: str) -> Thresholds:
        """Return them with one changed, given as NAME=VALUE.

        Raises:
            ValueError: there is no such threshold, or the value does not fit; the message says what would.
        """
        name, _, text = setting.partition("=")
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        if name not in known:
            raise ValueError(f"{name!r} is not a threshold; choose one of {', '.join(known)}")
        kind = type(known[name])
        try:
            value = kind.parse(text) if issubclass(kind, Window) else kind(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        change: dict[str, Any] = {name: value}
        return replace(self, **change)
