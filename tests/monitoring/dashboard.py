"""The Grafana dashboard as code: `pytest tests/monitoring --update-golden` writes its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from tests.monitoring.panels import SOURCE, figure, graph, listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.monitoring.panels import Panel

TENANT = '{tenant=~"$tenant"}'
PRODUCT = '{tenant=~"$tenant", product_type=~"$product_type"}'
OURS = "and on (job, instance) office365_activations_exporter_build_info"
RED, YELLOW, GREEN = "red", "yellow", "green"
DAY = 86400


def as_json() -> str:
    """Return the dashboard as Grafana imports it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(build()) + "\n"


def build() -> model.Dashboard:
    """Return the dashboard: numbers first, then the polls behind them, then the exporter itself."""
    board = (
        dashboard.Dashboard("Office 365 activations")
        .uid("office365-activations")
        .description("Users that Office licences were assigned to, and who activated them, by tenant.")
        .tags(["office365", "microsoft365", "licences"])
        .time("now-30d", "now")
        .timezone("browser")
        .refresh("5m")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(choice("tenant", "Tenant", "office365_activations_tenant_info"))
        .with_variable(choice("product_type", "Product type", f"office365_activations_assigned_users{TENANT}"))
    )
    for title, panels in ROWS.items():
        board.with_row(dashboard.Row(title))
        for panel in panels():
            board.with_panel(panel)
    return board.build()


def choice(name: str, label: str, series: str) -> dashboard.QueryVariable:
    """Return a variable that offers a label's values, several or all of them."""
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": f"label_values({series}, {name})", "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(everything)
    )


def overview() -> list[Panel]:
    """Return the figures that a glance should find."""
    assigned = f"sum(office365_activations_assigned_users{PRODUCT})"
    activated = f"sum(office365_activations_activated_users{PRODUCT})"
    below = (
        f"tenant_product:office365_activations_activated_per_assigned:ratio{PRODUCT}"
        f" < tenant_product:office365_activations_target_ratio:latest{PRODUCT}"
    )
    oldest = f"time() - min(office365_activations_report_refresh_timestamp_seconds{TENANT})"
    expiry = "min(office365_activations_exporter_credential_expiry_timestamp_seconds) - time()"
    return [
        figure("Tenants", f"count(office365_activations_tenant_info{TENANT})", "Enabled tenants."),
        figure(
            "Failing",
            f"sum(office365_activations_failing{TENANT}) or vector(0)",
            "Reports whose last poll failed; the table below says why.",
            steps={None: GREEN, 1: RED},
        ),
        figure("Assigned", assigned, "Users with an assigned licence."),
        figure("Activated", activated, "Users who activated it."),
        figure("Activation ratio", f"{activated} / {assigned}", "Of all that is chosen.", unit="percentunit"),
        figure(
            "Below target",
            f"count({below}) or vector(0)",
            "Products of a tenant whose ratio is below its target (needs the recording rule).",
            steps={None: GREEN, 1: YELLOW},
        ),
        figure(
            "Oldest report",
            oldest,
            "Age of the oldest report; Microsoft is usually one to two days behind.",
            unit="s",
            steps={None: GREEN, 4 * DAY: YELLOW, 7 * DAY: RED},
        ),
        figure(
            "Next expiry",
            expiry,
            "Until the first certificate, or secret with a date, expires.",
            unit="s",
            steps={None: RED, 7 * DAY: YELLOW, 30 * DAY: GREEN},
        ),
    ]


def activations() -> list[Panel]:
    """Return what the reports say."""
    assigned = f"office365_activations_assigned_users{PRODUCT}"
    activated = f"office365_activations_activated_users{PRODUCT}"
    shared = f"office365_activations_shared_computer_users{PRODUCT}"
    ratio = f"{activated} / ({assigned} > 0)"
    return [
        graph(
            "Activation ratio: the 20 lowest",
            {f"bottomk(20, {ratio})": "{{tenant}} · {{product_type}}"},
            "Activated of assigned users by tenant and product type.",
            unit="percentunit",
        ).max(1),
        graph(
            "Users",
            {
                f"sum by (product_type) ({assigned})": "{{product_type}}: assigned",
                f"sum by (product_type) ({activated})": "{{product_type}}: activated",
                f"sum by (product_type) ({shared})": "{{product_type}}: shared computer",
            },
            "Over all chosen tenants. Whether a shared-computer user is also an activated one is not known.",
        ),
        listing(
            "Tenants and product types",
            {
                "Assigned": assigned,
                "Activated": activated,
                "Shared computer": shared,
                "Ratio": ratio,
                "Target": f"office365_activations_target_ratio{PRODUCT}",
            },
            "The last good report; the lowest ratio first.",
            labels={"tenant": "Tenant", "product_type": "Product type"},
            units={"Ratio": "percentunit", "Target": "percentunit"},
        )
        .sort_by([common.TableSortByFieldState().display_name("Ratio").desc(desc=False)])
        .span(16)
        .height(10),
        graph(
            "Activations by platform",
            {f"sum by (platform) (office365_activations_platform_activations{PRODUCT})": "{{platform}}"},
            "Only with the report activations_platform_counts.",
        )
        .span(8)
        .height(10),
    ]


def polls() -> list[Panel]:
    """Return how the reports came in."""
    age = f"time() - office365_activations_report_refresh_timestamp_seconds{TENANT}"
    return [
        listing(
            "Failing tenants",
            {"Failing": f"office365_activations_failing{TENANT}"},
            "Whose last poll failed, and why; the exporter's status page has the mend.",
            labels={"tenant": "Tenant", "report": "Report", "reason": "Reason"},
            hidden=("Failing",),
        ),
        graph(
            "Failing by reason",
            {f"sum by (reason) (office365_activations_failing{TENANT})": "{{reason}}"},
            "Reports whose last poll failed.",
        ),
        graph(
            "Age of the reports: the 10 oldest",
            {f"topk(10, {age})": "{{tenant}} · {{report}}"},
            "Since the date that Microsoft gave the report.",
            unit="s",
        ),
        graph(
            "Polls",
            {
                f"sum(increase(office365_activations_polls_total{TENANT}[1h]))": "polls an hour",
                f"sum(increase(office365_activations_poll_failures_total{TENANT}[1h]))": "of them failed",
            },
            "Over all chosen tenants.",
        ),
        graph(
            "Duration of the last poll",
            {
                f"quantile(0.5, office365_activations_last_poll_duration_seconds{TENANT})": "median",
                f"quantile(0.95, office365_activations_last_poll_duration_seconds{TENANT})": "95 of 100",
                f"max(office365_activations_last_poll_duration_seconds{TENANT})": "longest",
            },
            "Retries and waits included.",
            unit="s",
        ),
        graph(
            "Calls left: the 10 lowest",
            {f"bottomk(10, office365_activations_quota_remaining_calls{TENANT})": "{{tenant}} · {{report}}"},
            "Of the exporter's own budget, which keeps below Microsoft's limit.",
        ),
    ]


def exporter() -> list[Panel]:
    """Return how the exporter itself does."""
    requests = "sum by (endpoint, code) (increase(office365_activations_exporter_http_requests_total[1h]))"
    internal = 'office365_activations_exporter_failures_total{reason="internal"}'
    faults = f"sum by (instance) (increase({internal}[1h]))"
    storage = "sum by (instance) (increase(office365_activations_exporter_storage_errors_total[1h]))"
    stale = "sum by (instance) (increase(office365_activations_exporter_stale_reports_total[1h]))"
    reload = "office365_activations_exporter_config_last_reload_successful == 0"
    expiry = "office365_activations_exporter_credential_expiry_timestamp_seconds - time()"
    return [
        graph(
            "Calls an hour",
            {requests: "{{endpoint}} {{code}}"},
            "To Microsoft's token, Graph and download hosts.",
        ),
        graph(
            "Troubles",
            {
                faults: "{{instance}}: faults an hour",
                storage: "{{instance}}: storage errors an hour",
                stale: "{{instance}}: older reports an hour",
                "office365_activations_exporter_tenants_pending": "{{instance}}: tenants never polled yet",
                reload: "{{instance}}: configuration refused (0)",
            },
            "All of these should be 0 or empty.",
        ),
        listing(
            "Credentials",
            {"Expires in": expiry},
            "Certificates, and secrets whose date is configured.",
            labels={"client_id": "Client id", "kind": "Kind"},
            units={"Expires in": "s"},
        ),
        graph("Memory", {f"process_resident_memory_bytes {OURS}": "{{instance}}"}, "Resident.", unit="bytes"),
        graph(
            "CPU",
            {f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}": "{{instance}}"},
            "Of one core.",
            unit="percentunit",
        ),
        graph(
            "Duration of a scrape",
            {"office365_activations_exporter_scrape_duration_seconds": "{{instance}}"},
            "The previous scrape's own cost.",
            unit="s",
        ),
        listing(
            "Versions",
            {"Version": "office365_activations_exporter_build_info"},
            "What runs where.",
            labels={
                "instance": "Instance",
                "version": "Version",
                "revision": "Revision",
                "pythonversion": "Python",
            },
            hidden=("Version",),
        )
        .span(24)
        .height(5),
    ]


ROWS: dict[str, Callable[[], list[Panel]]] = {
    "Overview": overview,
    "Activations": activations,
    "Polls": polls,
    "Exporter": exporter,
}
