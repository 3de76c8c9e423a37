"""The exporter itself: its replicas, polls, calls to Microsoft, storage, scrapes and alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.addresses import runbook
from monitoring.dashboards import parts
from monitoring.dashboards.parts import DAY, GREEN, ORANGE, RED, YELLOW, Column, figure, graph, listing
from monitoring.dashboards.queries import INSTANCE, JOB, per_hour

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

    from monitoring.dashboards.parts import Panel, Rows

_EXPORTERS = (
    f"max by (job, instance) (last_over_time(office365_activations_exporter_build_info{{{INSTANCE}}}[$__range]))"
)
"""Every replica of the range, also one that is down now."""


def _own(metric: str, by: str = "instance", how: str = "max") -> str:
    return f"{how} by ({by}) (office365_activations_exporter_{metric}{{{INSTANCE}}})"


_ALERTS = f'ALERTS{{{JOB}, alertname=~"Office365.*"}}'
_REPLICA_UP = f"max by (job, instance) (up{{{INSTANCE}}}) and on (job, instance) {_EXPORTERS}"
_EXPIRY = f"{_own('credential_expiry_timestamp_seconds', 'client_id, kind')} - time()"


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    rows: Rows = {"Now": _now(), "Replicas and alerts": _replicas(), "Polls and calls": _polls(), "Process": _process()}
    return parts.frame(
        "office365-exporter",
        "Microsoft 365 activations / Exporter",
        "The exporter itself: replicas, polls, calls to Microsoft, storage, scrapes and alerts.",
        days=1,
        variables=(parts.JOB, parts.INSTANCE),
        rows=rows,
    )


def _now() -> list[Panel]:
    firing = f'count ({_ALERTS} and ALERTS{{alertstate="firing"}})'
    known = f"sum (office365_activations_exporter_build_info{{{JOB}}})"
    return [
        figure(
            "Replicas up", f"sum ({_REPLICA_UP})", "Exporters that Prometheus can scrape.", steps={None: RED, 1: GREEN}
        ),
        figure(
            "Replicas down",
            f"sum (({_REPLICA_UP}) == bool 0)",
            "Exporters that Prometheus knew in this range and cannot scrape now.",
            steps={None: GREEN, 1: RED},
        ),
        figure(
            "Alerts firing",
            f"({firing}) or ({known} * 0)",
            "Of the shipped rules; only where Prometheus evaluates them.",
            steps={None: GREEN, 1: RED},
        ),
        figure(
            "Tenants waiting",
            _own("tenants_pending", "job"),
            "Enabled tenants without any outcome or restored report yet.",
            steps={None: GREEN, 1: YELLOW},
        ),
        figure(
            "Last reload ok",
            _own("config_last_reload_successful", "job", "min"),
            "Whether the last reload succeeded. If not, the previous configuration is in force.",
            unit="bool_yes_no",
            steps={None: RED, 1: GREEN},
        ),
        figure(
            "Storage",
            _own("storage_up", "job", "min"),
            "Whether reports are stored. Not known without storage.path.",
            unit="bool_on_off",
            steps={None: RED, 1: GREEN},
            missing="memory only",
        ),
        figure(
            "Next expiry",
            f"min ({_EXPIRY})",
            "Until the first certificate, or secret with a date, expires.",
            unit="s",
            steps={None: RED, 7 * DAY: ORANGE, 30 * DAY: GREEN},
            missing="no date known",
        ),
        figure(
            "Scrape",
            _own("scrape_duration_seconds", "job"),
            "What the exporter's answer to the previous scrape took.",
            unit="s",
        ),
    ]


def _replicas() -> list[Panel]:
    by = "job, instance"
    build = f"{by}, version, revision, pythonversion"
    return [
        listing(
            "Alerts",
            {
                "Alert": Column(
                    f"max by (alertname, alertstate, severity, tenant, reason) ({_ALERTS})",
                    hidden=True,
                )
            },
            "Pending and firing alerts of the shipped rules; the name leads to the runbook.",
            labels={
                "alertname": "Alert",
                "alertstate": "State",
                "severity": "Severity",
                "tenant": "Tenant",
                "reason": "Reason",
            },
            links={"Alert": f"{runbook()}/${{__value.text}}.md", "Tenant": parts.TENANT_LINK},
            missing="no alert is known",
        ),
        listing(
            "Replicas",
            {
                "Up": Column(_REPLICA_UP, "bool_yes_no", {None: RED, 1: GREEN}),
                "Build": Column(_own("build_info", build), hidden=True),
                "Reloaded": Column(f"time() - {_own('config_last_reload_success_timestamp_seconds', by)}", "s"),
                "Started": Column(
                    f"time() - max by ({by}) (process_start_time_seconds{{{INSTANCE}}} and on ({by}) {_EXPORTERS})", "s"
                ),
            },
            "What runs where, since when, and how long ago its configuration was loaded.",
            labels={
                "job": "Job",
                "instance": "Instance",
                "version": "Version",
                "revision": "Revision",
                "pythonversion": "Python",
            },
        ),
        listing(
            "Credentials",
            {"Expires in": Column(_EXPIRY, "s", {None: RED, 7 * DAY: ORANGE, 30 * DAY: GREEN})},
            "Certificates, and secrets whose date is configured.",
            labels={"client_id": "Client ID", "kind": "Kind"},
            links={"Client ID": f"{runbook()}/Office365CredentialExpiring.md"},
            sort="Expires in",
        ),
        graph(
            "Replicas up",
            {"{{instance}}": f"max by (instance) ({_REPLICA_UP.replace('[$__range]', '[1h]')})"},
            "1 while Prometheus can scrape it, 0 while it cannot.",
        )
        .max(1)
        .decimals(0),
    ]


def _polls() -> list[Panel]:
    lowest = f"bottomk (10, min by (tenant, report) (office365_activations_quota_remaining_calls{{{INSTANCE}}}))"
    return [
        graph(
            "Polls an hour",
            {
                "{{instance}}: polls": per_hour("polls_total", INSTANCE, "instance"),
                "{{instance}}: failed": per_hour("poll_failures_total", INSTANCE, "instance"),
            },
            "Of all tenants' reports.",
        ),
        graph(
            "Failed polls an hour by reason",
            {"{{reason}}": per_hour("exporter_failures_total", INSTANCE, "reason") + " > 0"},
            "Reasons without a failure are left out.",
            missing="no failure is known",
        ),
        graph(
            "Calls to Microsoft an hour",
            {"{{endpoint}} {{code}}": per_hour("exporter_http_requests_total", INSTANCE, "endpoint, code")},
            "To the token, Graph and download hosts, by status code.",
        ),
        graph(
            "Duration of the last polls",
            {
                "median": f"quantile (0.5, office365_activations_last_poll_duration_seconds{{{INSTANCE}}})",
                "95 of 100": f"quantile (0.95, office365_activations_last_poll_duration_seconds{{{INSTANCE}}})",
                "longest": f"max (office365_activations_last_poll_duration_seconds{{{INSTANCE}}})",
            },
            "Retries and waits included.",
            unit="s",
        ),
        listing(
            "Lowest call budgets",
            {"Calls left": Column(lowest, "none", {None: RED, 1: ORANGE, 3: GREEN})},
            "Of the exporter's call budget in ten minutes, which is half of what Microsoft allows.",
            labels={"tenant": "Tenant", "report": "Report"},
            links={"Tenant": parts.TENANT_LINK},
            sort="Calls left",
        ),
        graph(
            "Storage errors and older reports an hour",
            {
                "{{instance}}: storage errors": per_hour("exporter_storage_errors_total", INSTANCE, "instance"),
                "{{instance}}: older reports": per_hour("exporter_stale_reports_total", INSTANCE, "instance"),
            },
            "Operations of storage that failed, and reports older than the stored one. Both are 0 while all is well.",
        ),
    ]


def _process() -> list[Panel]:
    ours = f"and on (job, instance) office365_activations_exporter_build_info{{{INSTANCE}}}"
    cpu = f"rate(process_cpu_seconds_total{{{INSTANCE}}}[$__rate_interval])"
    return [
        graph(
            "Duration of a scrape",
            {"{{instance}}": _own("scrape_duration_seconds")},
            "The exporter's own cost of the previous scrape.",
            unit="s",
            width=8,
        ),
        graph(
            "Memory",
            {"{{instance}}": f"max by (instance) (process_resident_memory_bytes{{{INSTANCE}}} {ours})"},
            "Resident.",
            unit="bytes",
            width=8,
        ),
        graph(
            "CPU",
            {"{{instance}}": f"max by (instance) ({cpu} {ours})"},
            "Of one core.",
            unit="percentunit",
            width=8,
        ),
    ]
