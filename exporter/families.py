"""Every metric of the exporter: the one list of names, types, labels and HELP texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.reports import REPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "office365_activations_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, its type (gauge or counter), labels and HELP."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """The name on `/metrics`."""
        return PREFIX + self.name


def _report_families() -> Iterator[Family]:
    helps: dict[str, tuple[list[str], Family]] = {}
    for report in REPORTS.values():
        for column in report.columns:
            columns, family = helps.setdefault(
                column.metric,
                (
                    [],
                    Family(
                        column.metric,
                        "gauge",
                        ("tenant", "product_type", *(name for name, _ in column.labels)),
                        column.help,
                    ),
                ),
            )
            columns.append(column.csv)
    for columns, family in helps.values():
        named = "column" if len(columns) == 1 else "columns"
        text = f"{family.help} (Microsoft's {named} {', '.join(columns)}), as of the last successful poll."
        yield Family(family.name, family.type, family.labels, text)


_REPORT = ("tenant", "report")

REPORT_DATE = Family(
    "report_refresh_timestamp_seconds",
    "gauge",
    _REPORT,
    "The report's own date (Microsoft's column Report Refresh Date), midnight UTC, as of the last successful poll.",
)

REPORT_FAMILIES = (
    *_report_families(),
    Family(
        "target_ratio",
        "gauge",
        ("tenant", "product_type"),
        "The configured target for activated / assigned users, where one applies, as of the last successful poll.",
    ),
    Family(
        "license_price",
        "gauge",
        ("tenant", "product_type", "currency"),
        "The configured price of one licence a month, where there is one, as of the last successful poll.",
    ),
    REPORT_DATE,
)
"""What a report brings with it, today on `/metrics` and for the past in `history`."""

TENANT_FAMILIES = (
    *REPORT_FAMILIES,
    Family("up", "gauge", _REPORT, "1 if the last poll of the report succeeded, 0 if it failed."),
    Family(
        "failing",
        "gauge",
        (*_REPORT, "reason"),
        "1 while the last poll of the report failed, for its reason; absent otherwise.",
    ),
    Family(
        "data_expires_timestamp_seconds",
        "gauge",
        _REPORT,
        "When the report's numbers are withdrawn unless a poll succeeds: the last success and report.max_age.",
    ),
    Family(
        "last_success_timestamp_seconds",
        "gauge",
        _REPORT,
        "When the last successful poll of the report ended.",
    ),
    Family("last_poll_duration_seconds", "gauge", _REPORT, "How long the last poll of the report took."),
    Family(
        "last_poll_rejected_rows",
        "gauge",
        _REPORT,
        "Rows of the last report read that could not be understood.",
    ),
    Family("polls_total", "counter", _REPORT, "Completed polls of the report since the start."),
    Family("poll_failures_total", "counter", _REPORT, "Failed polls of the report since the start."),
    Family(
        "quota_remaining_calls",
        "gauge",
        _REPORT,
        "Calls to Graph left in the exporter's call budget for the report, which is below Microsoft's limit.",
    ),
    Family(
        "tenant_info",
        "gauge",
        ("tenant", "tenant_id", "cloud"),
        "Every enabled tenant, with its tenant id and cloud.",
    ),
)
"""The metrics of each tenant, in the order of `/metrics`."""

SCRAPE_DURATION = Family(
    "exporter_scrape_duration_seconds", "gauge", (), "How long the exporter took to answer the previous scrape."
)

OWN_FAMILIES = (
    Family("exporter_failures_total", "counter", ("reason",), "Failed polls of all tenants, by reason."),
    Family(
        "exporter_stale_reports_total",
        "counter",
        (),
        "Reports that were ignored because they were older than the one held.",
    ),
    Family("exporter_storage_errors_total", "counter", (), "Storage operations that failed."),
    Family(
        "exporter_storage_up",
        "gauge",
        (),
        "1 while reports are stored, 0 while storage.path cannot be used; absent without storage.path.",
    ),
    Family("exporter_tenants_pending", "gauge", (), "Enabled tenants without any outcome or restored report yet."),
    Family(
        "exporter_credential_expiry_timestamp_seconds",
        "gauge",
        ("client_id", "kind"),
        "When a certificate, or a secret with a configured expiry, expires; the earliest of its kind for a client.",
    ),
    Family(
        "exporter_http_requests_total",
        "counter",
        ("endpoint", "code"),
        "Requests to Microsoft by endpoint (token, graph, download) and status; error where no answer came.",
    ),
    Family(
        "exporter_config_last_reload_successful",
        "gauge",
        (),
        "1 if the last reload of the configuration succeeded.",
    ),
    Family(
        "exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        (),
        "When the configuration was last loaded successfully.",
    ),
    Family(
        "exporter_build_info",
        "gauge",
        ("version", "revision", "pythonversion"),
        "Version and revision of the exporter, and the Python it runs on.",
    ),
    SCRAPE_DURATION,
)
"""The metrics of the process, besides `process_*` and `python_info`."""

NAMES = frozenset(family.full_name for family in (*TENANT_FAMILIES, *OWN_FAMILIES))
"""Every metric's name, for the documentation's and the dashboards' tests."""
