"""The one list of metrics (names, types, labels, HELP texts), and a tenant's samples from where its reports stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from exporter.reports import REPORTS
from exporter.state import midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config import Targets, Tenant
    from exporter.quota import Budget
    from exporter.reports import Report
    from exporter.state import ReportStates, Snapshot, Standing

PREFIX = "office365_activations_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, labels and HELP."""

    name: str
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """The name on `/metrics`."""
        return PREFIX + self.name

    @property
    def type(self) -> str:
        """Its type: as OpenMetrics demands, counters end in `_total`, and nothing else does."""
        return "counter" if self.name.endswith("_total") else "gauge"


def _report_families() -> Iterator[Family]:
    columns = [column for report in REPORTS.values() for column in report.columns]
    for metric in dict.fromkeys(column.metric for column in columns):
        of_metric = [column for column in columns if column.metric == metric]
        labels = ("tenant", "product_type", *(name for name, _ in of_metric[0].labels))
        named = "column" if len(of_metric) == 1 else "columns"
        names = ", ".join(column.csv for column in of_metric)
        text = f"{of_metric[0].help} (Microsoft's {named} {names}), as of the last successful poll."
        yield Family(metric, labels, text)


_REPORT = ("tenant", "report")

REPORT_DATE = Family(
    "report_refresh_timestamp_seconds",
    _REPORT,
    "The report's own date (Microsoft's column Report Refresh Date), midnight UTC, as of the last successful poll.",
)

REPORT_FAMILIES = (
    *_report_families(),
    Family(
        "target_ratio",
        ("tenant", "product_type"),
        "The configured target for activated / assigned users, where one applies, as of the last successful poll.",
    ),
    Family(
        "license_price",
        ("tenant", "product_type", "currency"),
        "The configured price of one licence a month, where there is one, as of the last successful poll.",
    ),
    REPORT_DATE,
)
"""What a report brings with it, today on `/metrics` and for the past in `history`."""

TENANT_FAMILIES = (
    *REPORT_FAMILIES,
    Family("up", _REPORT, "1 if the last poll of the report succeeded, 0 if it failed."),
    Family(
        "failing", (*_REPORT, "reason"), "1 while the last poll of the report failed, for its reason; absent otherwise."
    ),
    Family(
        "data_expires_timestamp_seconds",
        _REPORT,
        "When the report's numbers are withdrawn unless a poll succeeds: the last success and report.max_age.",
    ),
    Family("last_success_timestamp_seconds", _REPORT, "When the last successful poll of the report ended."),
    Family("last_poll_duration_seconds", _REPORT, "How long the last poll of the report took."),
    Family("last_poll_rejected_rows", _REPORT, "Rows of the last report read that could not be understood."),
    Family("polls_total", _REPORT, "Completed polls of the report since the start."),
    Family("poll_failures_total", _REPORT, "Failed polls of the report since the start."),
    Family(
        "quota_remaining_calls",
        _REPORT,
        "Calls to Graph left in the exporter's call budget for the report, which is below Microsoft's limit.",
    ),
    Family("tenant_info", ("tenant", "tenant_id", "cloud"), "Every enabled tenant, with its tenant id and cloud."),
)
"""The metrics of each tenant, in the order of `/metrics`."""

SCRAPE_DURATION = Family(
    "exporter_scrape_duration_seconds", (), "How long the exporter took to answer the previous scrape."
)

OWN_FAMILIES = (
    Family("exporter_failures_total", ("reason",), "Failed polls of all tenants, by reason."),
    Family("exporter_stale_reports_total", (), "Reports that were ignored because they were older than the one held."),
    Family("exporter_storage_errors_total", (), "Storage operations that failed."),
    Family(
        "exporter_storage_up",
        (),
        "1 while reports are stored, 0 while storage.path cannot be used; absent without storage.path.",
    ),
    Family("exporter_tenants_pending", (), "Enabled tenants without any outcome or restored report yet."),
    Family(
        "exporter_credential_expiry_timestamp_seconds",
        ("client_id", "kind"),
        "When a certificate, or a secret with a configured expiry, expires; the earliest of its kind for a client.",
    ),
    Family(
        "exporter_http_requests_total",
        ("endpoint", "code"),
        "Requests to Microsoft by endpoint (token, graph, download) and status; error where no answer came.",
    ),
    Family("exporter_config_last_reload_successful", (), "1 if the last reload of the configuration succeeded."),
    Family(
        "exporter_config_last_reload_success_timestamp_seconds",
        (),
        "When the configuration was last loaded successfully.",
    ),
    Family(
        "exporter_build_info",
        ("version", "revision", "pythonversion"),
        "Version and revision of the exporter, and the Python it runs on.",
    ),
    SCRAPE_DURATION,
)
"""The metrics of the process, besides `process_*` and `python_info`."""

NAMES = frozenset(family.full_name for family in (*TENANT_FAMILIES, *OWN_FAMILIES))
"""Every metric's name, for the documentation's and the dashboards' tests."""


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
        now = self._clock()
        moments = [now + self._budget.changes_in(key) for key in tenant.keys]
        expiries = [expiry_of(tenant, self._states.get(key)) for key in tenant.keys]
        moments += [at for at in expiries if at is not None and at > now]
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
