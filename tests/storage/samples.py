"""Polls to save, from nothing but a day and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from exporter.errors import Reason
from exporter.state import Failure, Key, Outcome, Row, Snapshot, Standing

DAY = 86400.0
START = datetime(2026, 3, 1, 6, tzinfo=UTC).timestamp()
CONTOSO = Key("global", "00000000-0000-0000-0000-000000000001", "activations_user_counts")
FABRIKAM = Key("usgov", "00000000-0000-0000-0000-000000000002", "activations_user_counts")


@dataclass
class Clock:
    """A clock that stands where it is put."""

    now: float = START

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now


def day(number: int) -> date:
    """Return the refresh date of the report that Microsoft gives on day `number`."""
    return date(2026, 2, 27) + timedelta(days=number)


def report(number: int, at: float, **products: tuple[int, ...]) -> Snapshot:
    """Return the report of day `number`, read at `at`; without products it has one row made from the day."""
    rows = products or {"OFFICE": (100 + number, 50 + number, number)}
    return Snapshot(
        day(number), tuple(Row(name, counts) for name, counts in sorted(rows.items())), at, f"request-{at:.0f}"
    )


def good(snapshot: Snapshot) -> Outcome:
    """Return the outcome of the poll that read `snapshot`."""
    return Outcome(snapshot.collected_at + 1, 1.5, snapshot, rejected_rows=0)


def failed(at: float, reason: Reason = Reason.THROTTLED) -> Outcome:
    """Return the outcome of a poll that failed at `at`."""
    return Outcome(at, 0.25, failure=Failure(reason, "Graph: 429", "wait", "request-0"), not_before=at + 300)


def standing(*outcomes: Outcome) -> Standing:
    """Return where a report stands after `outcomes`."""
    result = Standing()
    for outcome in outcomes:
        result = result.after(outcome)
    return result
