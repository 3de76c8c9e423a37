"""What must be on `/metrics`, worked out from what the simulation served and what every poll came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from exporter.errors import Reason
from exporter.state import Standing
from tests.builders import USERS
from tests.full_simulator import Simulator, Stage
from tests.soak.errors import ViolationError
from tests.soak.faults import CHANGED_NAMES, REJECTED, reasons
from tests.soak.network import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from exporter.state import Key, Outcome, Snapshot
    from tests.full_simulator import CallRecord
    from tests.soak.clock import Time
    from tests.soak.configuration import Account
    from tests.soak.network import Network

# A series: its metric without the prefix, and its labels, sorted by name.
Series = tuple[str, tuple[tuple[str, str], ...]]
COLUMNS = ("assigned_users", "activated_users", "shared_computer_users")
WITHOUT_TARGET = "microsoft excel advanced analytics"
PLATFORM_LABELS = ("windows", "mac", "android", "ios", "windows_10_mobile")
_ENOUGH = 700.0
_HELD = 300.0
"""Seconds for which a clock that jumped ahead withdraws nothing by time alone."""
_UNAUTHORIZED = 401


class Oracle:
    """Knows what a process must publish.

    Args:
        simulator: what is true.
        network: what was asked and answered.
        time: of everything.

    Attributes:
        accounts: the tenants of the process, by name.
        standings: where every report stands in its memory.
        polls: how many polls of each report ended since its start.
        failures: and how many failed.
        stale: how many good polls read an older report.
        dirty: the names of the tenants whose samples may have changed since the last look.
    """

    def __init__(self, simulator: Simulator, network: Network, time: Time) -> None:
        self._simulator = simulator
        self._network = network
        self._time = time
        self._fresh: dict[Key, bool] = {}
        self._next_end = 0.0
        self._lag = self._lag_until = 0.0
        self._met: dict[str, set[str]] = {}
        self._accounts_of: dict[str, Account] = {}
        self.accounts: dict[str, Account] = {}
        self.standings: dict[Key, Standing] = {}
        self.polls: Counter[Key] = Counter()
        self.failures: Counter[Key] = Counter()
        self.stale = 0
        self.total = 0
        self.dirty: set[str] = set()
        self.quota_known_from = 0.0
        self.doubtful: set[Key] = set()

    # What happens

    def start(self, accounts: Iterable[Account], stored: Mapping[Key, Standing]) -> None:
        """A process starts with what storage holds."""
        self.polls.clear()
        self.failures.clear()
        self.stale = 0
        self.standings = {}
        self._lag = 0.0
        self.reload(accounts, stored)

    def reload(self, accounts: Iterable[Account], stored: Mapping[Key, Standing]) -> None:
        """A configuration takes effect: storage completes reports without a snapshot, and those that are gone go."""
        self._configured(accounts)
        nothing, known = Standing(), self.standings
        self.standings = {}
        for key in (key for account in self.accounts.values() for key in account.report_keys()):
            held, kept = known.get(key, nothing), stored.get(key, nothing)
            if held.snapshot is None and held.last is None:
                held = kept
            elif held.snapshot is None:
                held = replace(held, snapshot=kept.snapshot, last_success=kept.last_success)
            if held != nothing:
                self.standings[key] = held

    def _configured(self, accounts: Iterable[Account]) -> None:
        self.dirty |= set(self.accounts)
        self.accounts = {account.name: account for account in accounts if account.enabled}
        self.dirty |= set(self.accounts)
        self._accounts_of = {account.tenant_id: account for account in self.accounts.values()}
        self._fresh.clear()
        self._next_end = 0.0

    def jumped(self, seconds: float) -> None:
        """The exporter's clock jumped: what it thinks of its budget and of old reports nobody else knows for a while.

        After a jump back a report that was too old may be young enough again; it may come back, or stay away.
        """
        self._look_at_ages()
        self._next_end = 0.0
        if seconds > 0:
            self._lag, self._lag_until = self._lag + seconds, self._time.true + _HELD
        else:
            self._lag = max(self._lag + seconds, 0.0)
        self.doubtful |= {key for key, fresh in self._fresh.items() if not fresh}
        known_from = max(self.quota_known_from, self._time.true)
        self.quota_known_from = max(known_from + abs(seconds), self._time.true + abs(seconds) + _ENOUGH)

    def polled(self, key: Key, outcome: Outcome, records: Sequence[CallRecord]) -> None:
        """Take in what a poll came to, once that is found to be what it had to come to.

        Raises:
            ViolationError: it is not.
        """
        account = self._accounts_of[key.tenant_id]
        self._met.setdefault(key.tenant_id, set()).update(record.fault for record in records)
        before = self.standings.get(key, Standing())
        if outcome.snapshot is not None:
            self._judge_report(key, account, outcome.snapshot, records)
            paged = any(record.fault == "nextlink" for record in records)  # each page may have met its own fault
            if not paged and outcome.rejected_rows != REJECTED.get(records[-1].fault, 0):
                raise ViolationError(f"{key}: {outcome.rejected_rows} rows rejected after {records[-1]}")
            older = before.snapshot is not None and outcome.snapshot.refresh_date < before.snapshot.refresh_date
            self.stale += older
            held = before.snapshot if older else outcome.snapshot
            self.doubtful.discard(key)
            after = Standing(held, outcome.at, replace(outcome, snapshot=None), 0)
        else:
            self._judge_failure(account, outcome, records)
            self._judge_refusal(key, account, before, records)
            last = replace(outcome, snapshot=None)
            after = Standing(before.snapshot, before.last_success, last, before.consecutive_failures + 1)
            self.failures[key] += 1
        self.polls[key] += 1
        self.total += 1
        self.standings[key] = after
        self._next_end = min(self._next_end, (after.last_success or 0.0) + account.max_age)
        self.dirty.add(account.name)

    def _judge_report(self, key: Key, account: Account, snapshot: Snapshot, records: Sequence[CallRecord]) -> None:
        last = records[-1]
        got = {(row.product_type, row.counts) for row in snapshot.rows}
        if last.status != 200 or len(got) != len(snapshot.rows):
            raise ViolationError(f"a report from an answer that held none: {key}, {last}")
        self.judge_rows(key, snapshot)
        if not last.fault:
            asked = next(record.at for record in reversed(records) if record.stage is Stage.GRAPH)
            day = self._simulator.refresh_date(asked)
            rows = self._simulator.rows(account_name(self._simulator, key), key.report, day)
            true = {(row.product_type if account.json else row.product_type.upper(), row.counts) for row in rows}
            if got != true or snapshot.refresh_date != day:
                raise ViolationError(f"{key}: read {snapshot.refresh_date} {got}, true is {day} {true}")

    def judge_rows(self, key: Key, snapshot: Snapshot) -> None:
        """Hold every triple of a report against what was served for that tenant and day.

        Raises:
            ViolationError: one was not.
        """
        met = self._met.get(key.tenant_id, set())
        days = [snapshot.refresh_date]
        if "mixed-dates" in met:  # the report's date is its oldest line's
            days.append(snapshot.refresh_date + timedelta(days=1))
        served = set().union(*(self._simulator.served(key.tenant_id, key.report, day) for day in days))
        for row in snapshot.rows:
            if (row.product_type, row.counts) in served:
                continue
            fault = CHANGED_NAMES.get(row.product_type)
            if fault not in met or row.counts not in {counts for _, counts in served}:
                raise ViolationError(f"never served: {key}, {snapshot.refresh_date}, {row}")

    def _judge_failure(self, account: Account, outcome: Outcome, records: Sequence[CallRecord]) -> None:
        failure = outcome.failure
        if failure is None:
            raise ViolationError("an outcome of nothing")
        allowed = reasons(records[-1] if records else None, json=account.json)
        if outcome.duration >= float(str(account.poll["timeout"]).removesuffix("s")) - 1:
            allowed = allowed | {Reason.NETWORK}
        if failure.reason not in allowed or not failure.message or not failure.hint:
            raise ViolationError(f"{account.name}: {failure} after {records[-1:]}, allowed: {sorted(allowed)}")
        if failure.reason is Reason.THROTTLED and outcome.not_before < outcome.at:
            raise ViolationError(f"{account.name}: throttled, but the next poll is not moved: {outcome}")

    def _judge_refusal(self, key: Key, account: Account, before: Standing, records: Sequence[CallRecord]) -> None:
        """A 401 is worth one new token and one more call, unless the token was new or the budget is spent."""
        refused = [record for record in records if record.stage is Stage.GRAPH and record.status == _UNAUTHORIZED]
        if not refused or refused[-1] is not records[-1]:
            return
        form = "json" if account.json else "csv"
        spent = self._network.windows.count(key, form, self._time.true) >= LIMITS[form]
        was_new = before.last is not None and before.last.failure is not None
        if len(refused) < 2 and not spent and not was_new:
            raise ViolationError(f"{account.name}: no new token after a 401: {records}")

    # What must be seen

    def changed(self) -> set[str]:
        """Return the tenants whose samples may have changed since the last look, by polls or by time."""
        if self._time.now() >= self._next_end:
            self._look_at_ages()
        found, self.dirty = self.dirty, set()
        return found

    def samples(self, name: str, *, doubtful: bool = False) -> dict[Series, float]:
        """Return every sample of a tenant but that of its quota; none if it is not configured.

        Args:
            name: the tenant's.
            doubtful: leave the numbers out that may be there or not.
        """
        account = self.accounts.get(name)
        return {} if account is None else dict(self._samples(account, self.doubtful if doubtful else set()))

    def quota(self, name: str) -> dict[Series, float]:
        """Return the samples of a tenant's quota, where they can be known."""
        account = self.accounts.get(name)
        if account is None or self._time.true < self.quota_known_from:
            return {}
        form = "json" if account.json else "csv"
        made, now = self._network.windows, self._time.true
        return {
            _series("quota_remaining_calls", tenant=name, report=key.report): max(
                LIMITS[form] - made.count(key, "csv", now) - made.count(key, "json", now), 0
            )
            for key in account.report_keys()
        }

    def _look_at_ages(self) -> None:
        self._next_end = float("inf") if not self._lag else self._time.now()
        for account in self.accounts.values():
            for key in account.report_keys():
                if fresh := self._is_fresh(key, account):
                    success = self.standings[key].last_success or 0.0
                    self._next_end = min(self._next_end, success + account.max_age)
                if self._fresh.get(key) != fresh:
                    self._fresh[key] = fresh
                    self.dirty.add(account.name)

    def _is_fresh(self, key: Key, account: Account) -> bool:
        success = self.standings.get(key, Standing()).last_success
        if self._time.true >= self._lag_until:
            self._lag = 0.0
        return success is not None and self._time.now() - self._lag - success < account.max_age

    def _samples(self, account: Account, left_out: set[Key]) -> Iterator[tuple[Series, float]]:
        name = account.name
        yield _series("tenant_info", tenant=name, tenant_id=account.tenant_id, cloud="global"), 1
        for key in account.report_keys():
            standing = self.standings.get(key, Standing())
            about = {"tenant": name, "report": key.report}
            yield _series("polls_total", **about), self.polls[key]
            yield _series("poll_failures_total", **about), self.failures[key]
            last = standing.last
            if last is not None:
                yield _series("up", **about), last.failure is None
                yield _series("last_poll_duration_seconds", **about), last.duration
                if last.failure is not None:
                    yield _series("failing", **about, reason=last.failure.reason.value), 1
                if last.rejected_rows is not None:
                    yield _series("last_poll_rejected_rows", **about), last.rejected_rows
            if standing.last_success is not None:
                yield _series("last_success_timestamp_seconds", **about), standing.last_success
                yield _series("data_expires_timestamp_seconds", **about), standing.last_success + account.max_age
            if standing.snapshot is not None:
                midnight = datetime.combine(standing.snapshot.refresh_date, time(), UTC).timestamp()
                yield _series("report_refresh_timestamp_seconds", **about), midnight
                if self._is_fresh(key, account) and key not in left_out:
                    self.judge_rows(key, standing.snapshot)
                    yield from _counts(account, key.report, standing.snapshot)


def account_name(simulator: Simulator, key: Key) -> str:
    """Return the simulated tenant's own name."""
    return simulator.tenant(key.tenant_id).name


def _counts(account: Account, report: str, snapshot: Snapshot) -> Iterator[tuple[Series, float]]:
    renames = {name.casefold(): label for name, label in account.renames.items()}
    for row in snapshot.rows:
        about = {"tenant": account.name, "product_type": renames.get(row.product_type.casefold(), row.product_type)}
        if report == USERS:
            for metric, count in zip(COLUMNS, row.counts, strict=True):
                yield _series(metric, **about), count
            if (
                account.ratio is not None
                and row.counts[0] >= account.min_assigned
                and about["product_type"].casefold() != WITHOUT_TARGET
            ):
                yield _series("target_ratio", **about), account.ratio
        else:
            for platform, count in zip(PLATFORM_LABELS, row.counts, strict=True):
                yield _series("platform_activations", **about, platform=platform), count


def _series(metric: str, **labels: str) -> Series:
    return metric, tuple(sorted(labels.items()))
