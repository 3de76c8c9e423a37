"""The frozen values from a poll to a scrape, and the table of where each report stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from exporter.errors import Reason


_AHEAD = 2 * 86400.0

CLOCK_JUMP = 5.0
"""Seconds that a clock may gain or lose, against a steady one or against what it said before, without having jumped."""


def midnight(day: date) -> float:
    """Return when a day begins in UTC, Unix seconds."""
    return datetime.combine(day, time.min, UTC).timestamp()


def is_ahead_of_clock(day: date, now: float) -> bool:
    """Say whether a refresh date lies more than two days ahead of `now` (Unix seconds): no report is made ahead."""
    return midnight(day) - now > _AHEAD


@dataclass(frozen=True, slots=True)
class Key:
    """What one series of reports belongs to: renaming a tenant changes none of it."""

    cloud: str
    tenant_id: str
    report: str


@dataclass(frozen=True, slots=True)
class Row:
    """One product type's counts, in the order of the report's columns."""

    product_type: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One report as Microsoft gave it.

    Attributes:
        refresh_date: the report's own date.
        rows: the good rows, one a product type, sorted by it; never empty.
        collected_at: when it was read, Unix seconds.
        request_id: Graph's `request-id` of the call.
    """

    refresh_date: date
    rows: tuple[Row, ...]
    collected_at: float
    request_id: str

    def labels(self, product_names: Mapping[str, str]) -> dict[str, str]:
        """Return the label `product_type` of each product type.

        A rename whose label another product type of the report would bear too is left out: nothing is summed, since a
        person may hold both licences, and the name is kept as Microsoft gave it.

        Args:
            product_names: name (any case) to label, as configured.
        """
        renames = {name.casefold(): label for name, label in product_names.items()}
        wanted = {row.product_type: renames.get(row.product_type.casefold(), row.product_type) for row in self.rows}
        borne = Counter(label.casefold() for label in wanted.values())
        borne.update(name.casefold() for name, label in wanted.items() if name.casefold() != label.casefold())
        return {name: label if borne[label.casefold()] == 1 else name for name, label in wanted.items()}

    def kept_names(self, product_names: Mapping[str, str]) -> tuple[str, ...]:
        """Return the product types whose rename `labels` left out."""
        renames = {name.casefold() for name, label in product_names.items() if name.casefold() != label.casefold()}
        labels = self.labels(product_names)
        return tuple(name for name, label in labels.items() if name == label and name.casefold() in renames)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a poll failed, for people and for the label `reason`."""

    reason: Reason
    message: str
    hint: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one poll came to: a snapshot or a failure, never both.

    Attributes:
        at: when the poll ended, Unix seconds.
        duration: how long it took, seconds.
        snapshot: the report, where it succeeded.
        failure: why not, where it failed.
        rejected_rows: how many rows of the report could not be read; None if no report was read.
        not_before: no poll before this moment (Unix seconds), as Microsoft asked by Retry-After; 0 if it did not.
    """

    at: float
    duration: float
    snapshot: Snapshot | None = None
    failure: Failure | None = None
    rejected_rows: int | None = None
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one tenant's report stands: its last good snapshot and its last outcome.

    Attributes:
        snapshot: the newest good report; None if there never was one.
        last_success: when the last good poll ended, Unix seconds; None if there never was one.
        last: the last outcome, without its snapshot; None before the first.
        consecutive_failures: failed polls since the last good one.
    """

    snapshot: Snapshot | None = None
    last_success: float | None = None
    last: Outcome | None = None
    consecutive_failures: int = 0

    @property
    def failure(self) -> Failure | None:
        """Why the last poll failed; None where it did not, or there was none."""
        return None if self.last is None else self.last.failure

    def after(self, outcome: Outcome) -> Standing:
        """Return the standing once `outcome` has come in.

        A report older than the one held is a good poll that changes no number, unless the one held is dated in the
        future.
        """
        last = replace(outcome, snapshot=None)
        if outcome.snapshot is None:
            return Standing(self.snapshot, self.last_success, last, self.consecutive_failures + 1)
        held = self.snapshot
        newer = (
            held is None
            or outcome.snapshot.refresh_date >= held.refresh_date
            or is_ahead_of_clock(held.refresh_date, outcome.at)
        )
        return Standing(outcome.snapshot if newer else held, outcome.at, last, 0)


_NOTHING = Standing()


class ReportStates:
    """The standing of every report since the start, and this process's counts of polls.

    What a reload takes away is remembered: it may come back, and storage may have missed the last of it. The recorder
    alone writes; `get` and `polls` may be called from any thread, and never wait.

    Args:
        states: where reports stand at the beginning.
    """

    def __init__(self, states: Mapping[Key, Standing] | None = None) -> None:
        self._states = dict(states or {})
        self._polls: Counter[Key] = Counter()
        self._failures: Counter[Key] = Counter()

    def get(self, key: Key) -> Standing:
        """Return the standing; an empty one before the first outcome."""
        return self._states.get(key, _NOTHING)

    def polls(self, key: Key) -> tuple[int, int]:
        """Return how many polls ended since the start, and how many of them failed."""
        return self._polls[key], self._failures[key]

    def record(self, key: Key, after: Standing) -> None:
        """Take in where the report stands after a poll."""
        self._states[key] = after
        self._polls[key] += 1
        self._failures[key] += after.consecutive_failures > 0

    def complete(self, key: Key, restored: Standing) -> None:
        """Take from storage what is not known of the report."""
        held = self.get(key)
        if held.last is None and held.snapshot is None:
            self._states[key] = restored
        elif held.snapshot is None:
            self._states[key] = replace(held, snapshot=restored.snapshot, last_success=restored.last_success)
