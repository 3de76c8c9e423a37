"""From the report state to samples, and the exporter's own metrics."""

from __future__ import annotations

import platform
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from exporter import __version__
from exporter.errors import Reason
from exporter.families import REPORT_DATE
from exporter.reports import REPORTS
from exporter.state import midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.auth import CredentialExpiry
    from exporter.config import Targets, Tenant
    from exporter.quota import Budget
    from exporter.reports import Report
    from exporter.state import ReportStates, Snapshot, Standing
    from exporter.storage import Storage


class Sample(NamedTuple):
    """One value of a family; labels in the order of the family's."""

    family: str
    labels: tuple[str, ...]
    value: float


class TenantSamples:
    """The samples of a tenant, from where its reports stand.

    Args:
        states: read, never written.
        budget: of Graph calls.
        clock: Unix seconds, as of which numbers are too old.
    """

    def __init__(self, states: ReportStates, budget: Budget, clock: Callable[[], float]) -> None:
        self._states = states
        self._budget = budget
        self._clock = clock

    def of(self, tenant: Tenant) -> Iterator[Sample]:
        """Yield the tenant's samples, those of a family in a row or not."""
        yield Sample("tenant_info", (tenant.name, tenant.tenant_id, tenant.cloud.name), 1)
        for key in tenant.keys:
            standing = self._states.get(key)
            labels = (tenant.name, key.report)
            now = self._clock()
            expires = expiry_of(tenant, standing)
            if standing.snapshot is not None and expires is not None:
                yield date_sample(tenant.name, key.report, standing.snapshot)
                if expires > now:
                    yield from count_samples(tenant.name, REPORTS[key.report], standing.snapshot, tenant)
            yield from _outcome(labels, standing)
            if expires is not None:
                yield Sample("data_expires_timestamp_seconds", labels, expires)
            polls, failures = self._states.polls(key)
            yield Sample("polls_total", labels, polls)
            yield Sample("poll_failures_total", labels, failures)
            yield Sample("quota_remaining_calls", labels, self._budget.remaining(key, tenant.report.format))

    def changes_at(self, tenant: Tenant) -> float:
        """Return when the samples change without a poll, Unix seconds: a report too old, a call out of the window."""
        now, moments = self._clock(), [float("inf")]
        for key in tenant.keys:
            if (frees_in := self._budget.changes_in(key)) is not None:
                moments.append(now + frees_in)
            if (expires := expiry_of(tenant, self._states.get(key))) is not None and expires > now:
                moments.append(expires)
        return min(moments)

    def pending(self, tenant: Tenant) -> bool:
        """Say whether nothing is known of the tenant: no outcome, no restored report."""
        states = [self._states.get(key) for key in tenant.keys]
        return all(standing.last is None and standing.snapshot is None for standing in states)


def date_sample(tenant: str, report: str, snapshot: Snapshot) -> Sample:
    """Return the report's date, which remains on `/metrics` when its numbers are withdrawn."""
    return Sample(REPORT_DATE.name, (tenant, report), midnight(snapshot.refresh_date))


def count_samples(name: str, report: Report, snapshot: Snapshot, tenant: Tenant | None) -> Iterator[Sample]:
    """Yield the report's counts, and the targets and prices that go with them.

    Args:
        name: the tenant's name.
        report: whose columns the counts have.
        snapshot: the counts.
        tenant: where the labels, targets and prices come from; None where the tenant is no longer configured.
    """
    labels = snapshot.labels(tenant.report.product_names if tenant else {})
    for row in snapshot.rows:
        label = labels[row.product_type]
        # An older version may have stored fewer columns, a newer one more.
        for column, count in zip(report.columns, row.counts, strict=False):
            yield Sample(column.metric, (name, label, *(value for _, value in column.labels)), count)
            if column.metric == "assigned_users" and tenant is not None:
                if (target := target_of(tenant.targets, label, count)) is not None:
                    yield Sample("target_ratio", (name, label), target)
                if (price := tenant.prices.price_of(label)) is not None:
                    yield Sample("license_price", (name, label, tenant.prices.currency or ""), price)


def expiry_of(tenant: Tenant, standing: Standing) -> float | None:
    """Return when the numbers are withdrawn unless a poll succeeds, Unix seconds; None where there are none."""
    return None if standing.last_success is None else standing.last_success + tenant.report.max_age


def target_of(targets: Targets, product_type: str, assigned: int) -> float | None:
    """Return the target for activated / assigned users of a product type; None where none applies."""
    if assigned < targets.min_assigned:
        return None
    return targets.ratio_of(product_type)


def _outcome(labels: tuple[str, str], standing: Standing) -> Iterator[Sample]:
    if standing.last_success is not None:
        yield Sample("last_success_timestamp_seconds", labels, standing.last_success)
    last = standing.last
    if last is None:
        return
    yield Sample("up", labels, last.failure is None)
    if last.failure is not None:
        yield Sample("failing", (*labels, last.failure.reason.value), 1)
    yield Sample("last_poll_duration_seconds", labels, last.duration)
    if last.rejected_rows is not None:
        yield Sample("last_poll_rejected_rows", labels, last.rejected_rows)


class OwnMetrics:
    """The exporter's own counts: plain numbers, made into samples when a scrape asks.

    Args:
        revision: the source's revision, for `build_info`.
        storage: says itself whether it works; None where there is none to tell of.

    Attributes:
        tenants_pending: tenants without any outcome or restored report; None until the first rendering has counted.
    """

    def __init__(self, revision: str = "", storage: Storage | None = None) -> None:
        self._failures = Counter({reason.value: 0 for reason in Reason})
        self._requests: Counter[tuple[str, str]] = Counter()
        self._revision = revision
        self._lock = threading.Lock()
        self._stale_reports = 0
        self._storage = storage
        self.tenants_pending: int | None = None
        self.reload_successful = True
        self.reloaded_at = 0.0
        self.scrape_seconds = 0.0
        self.expiries: tuple[CredentialExpiry, ...] = ()

    def count_failure(self, reason: Reason) -> None:
        with self._lock:
            self._failures[reason.value] += 1

    def count_request(self, endpoint: str, code: str) -> None:
        with self._lock:
            self._requests[endpoint, code] += 1

    def count_stale_report(self) -> None:
        """Count a report older than the one held."""
        with self._lock:
            self._stale_reports += 1

    def samples(self) -> Iterator[Sample]:
        """Yield every sample of `OWN_FAMILIES` but the previous scrape's cost, `scrape_seconds`."""
        with self._lock:
            failures, requests = dict(self._failures), dict(self._requests)
        for reason, count in failures.items():
            yield Sample("exporter_failures_total", (reason,), count)
        yield Sample("exporter_stale_reports_total", (), self._stale_reports)
        if self._storage is not None:
            yield Sample("exporter_storage_errors_total", (), self._storage.errors)
            if (up := self._storage.up) is not None:
                yield Sample("exporter_storage_up", (), up)
        if self.tenants_pending is not None:
            yield Sample("exporter_tenants_pending", (), self.tenants_pending)
        earliest: dict[tuple[str, str], float] = {}
        for expiry in self.expiries:
            key = (expiry.client_id, expiry.kind)
            earliest[key] = min(expiry.at, earliest.get(key, expiry.at))
        for key, at in earliest.items():
            yield Sample("exporter_credential_expiry_timestamp_seconds", key, at)
        for request, count in sorted(requests.items()):
            yield Sample("exporter_http_requests_total", request, count)
        yield Sample("exporter_config_last_reload_successful", (), self.reload_successful)
        if self.reloaded_at:
            yield Sample("exporter_config_last_reload_success_timestamp_seconds", (), self.reloaded_at)
        yield Sample("exporter_build_info", (__version__, self._revision, platform.python_version()), 1)
