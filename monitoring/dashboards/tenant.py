"""One tenant by product and platform, and how its polls go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.addresses import runbook
from monitoring.dashboards import parts
from monitoring.dashboards.parts import DAY, GREEN, ORANGE, RED, YELLOW, Column, figure, graph, listing
from monitoring.dashboards.queries import (
    FAILING,
    NOW,
    PRODUCT,
    REPORT_AGE,
    TENANT,
    largest,
    per_hour,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

    from monitoring.dashboards.parts import Panel, Rows

_SUCCESS_AGE = f"time() - {largest('last_success_timestamp_seconds', 'report', TENANT)}"


def _by_product(expression: str) -> str:
    return f"max by (product_type) ({expression})"


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    rows: Rows = {"Now": _now(), "Over time": _over_time(), "Polls": _polls()}
    return parts.frame(
        "office365-tenant",
        "Microsoft 365 activations / Tenant",
        "One tenant: its products against their targets, its platforms, and how its polls go.",
        days=90,
        variables=(parts.JOB, parts.tenant(several=False), parts.PRODUCT),
        rows=rows,
    )


def _now() -> list[Panel]:
    return [
        figure(
            "Ratio",
            NOW.headline(),
            "Activated of assigned, over the products that have a target. Assignments, not people.",
            unit="percentunit",
            missing="no product with a target",
            width=4,
        ),
        figure(
            "Assigned",
            f"sum ({NOW.assigned} and {NOW.target})",
            "Assignments of the products that have a target: not people, not purchases. The table has all products.",
            missing="no product with a target",
            width=4,
        ),
        figure(
            "Activated",
            f"sum ({NOW.activated} and {NOW.target})",
            "Those of them that were activated on a device.",
            missing="no product with a target",
            width=4,
        ),
        figure(
            "Not activated",
            f"sum ({NOW.idle_targeted})",
            "Those of them that were not. Users of shared computers may be among them.",
            missing="no product with a target",
            width=4,
        ),
        figure(
            "Cost a month",
            f"sum by (currency) ({NOW.cost})",
            "What licences that are not activated cost a month, for products with a price in `prices`.",
            unit="short",
            legend="{{currency}}",
            missing="no prices configured",
            width=4,
        ),
        figure(
            "Age of the report",
            f"max ({REPORT_AGE})",
            "Since the oldest report's own date. Microsoft is usually one to two days behind.",
            unit="s",
            steps={None: GREEN, 4 * DAY: YELLOW, 7 * DAY: RED},
            width=4,
        ),
        listing(
            "Products",
            {
                "Assigned": Column(_by_product(NOW.assigned)),
                "Activated": Column(_by_product(NOW.activated)),
                "Shared computer": Column(_by_product(NOW.shared)),
                "Not activated": Column(_by_product(NOW.idle)),
                "Ratio": Column(_by_product(NOW.ratio), "percentunit"),
                "Target": Column(_by_product(NOW.target), "percentunit"),
                "Against target": Column(
                    _by_product(f"({NOW.ratio}) - {NOW.target}"), "percentunit", {None: ORANGE, 0: GREEN}
                ),
            },
            "As of the last successful poll. A product without a target has too few users for one, or none is set.",
            labels={"product_type": "Product type"},
            sort="Ratio",
            width=24,
        ),
    ]


def _over_time() -> list[Panel]:
    ratio = _by_product(NOW.ratio)
    target = _by_product(NOW.target)
    platforms = largest("platform_activations", "product_type, platform", PRODUCT)
    return [
        graph(
            "Activated of assigned, and targets",
            {"{{product_type}}": ratio, "{{product_type}}: target": target},
            "By product type; targets are dashed, where one applies.",
            unit="percentunit",
            dashed=".*: target",
        ),
        graph(
            "Users",
            {
                "{{product_type}}: assigned": _by_product(NOW.assigned),
                "{{product_type}}: activated": _by_product(NOW.activated),
            },
            "Assigned and activated users by product type; activated is dashed.",
            dashed=".*: activated",
        ),
        graph(
            "Not activated, and shared computers",
            {
                "{{product_type}}: not activated": _by_product(NOW.idle),
                "{{product_type}}: shared computer": _by_product(NOW.shared),
            },
            "Whether a shared-computer user is also an activated one is not known; shared computers are dashed.",
            dashed=".*: shared computer",
        ),
        graph(
            "Not activated, a month",
            {"{{product_type}} · {{currency}}": f"max by (product_type, currency) ({NOW.cost})"},
            "Assigned but not activated, times the price; for products with a price in `prices`.",
            unit="locale",
            missing="no prices configured",
        ),
        graph(
            "Activations by platform",
            {"{{product_type}} · {{platform}}": platforms},
            "Only with the report activations_platform_counts.",
            missing="the report activations_platform_counts is not read",
            width=24,
        ),
    ]


def _polls() -> list[Panel]:
    failing = f"max by (report, reason) ({FAILING})"
    left = f"{largest('data_expires_timestamp_seconds', 'report', TENANT)} - time()"
    age = f"max by (report) ({REPORT_AGE})"
    return [
        listing(
            "Reports",
            {
                "Up": Column(largest("up", "report", TENANT), "bool_yes_no", {None: RED, 1: GREEN}),
                "Age": Column(age, "s", {None: GREEN, 4 * DAY: ORANGE, 7 * DAY: RED}),
                "Last success": Column(_SUCCESS_AGE, "s"),
                "Numbers left for": Column(left, "s", {None: RED, DAY: ORANGE, 2 * DAY: GREEN}),
                "Rejected rows": Column(largest("last_poll_rejected_rows", "report", TENANT), "none"),
            },
            "How old each report is, and how long its numbers remain unless a poll succeeds.",
            labels={"report": "Report"},
            height=7,
        ),
        listing(
            "Failing now",
            {
                "Failing": Column(failing, hidden=True),
                "Since the last success": Column(f"{failing} * on (report) group_left () ({_SUCCESS_AGE})", "s"),
            },
            "Why no exporter can read a report; the reason leads to what to do. Empty while all is well.",
            labels={"report": "Report", "reason": "Reason"},
            links={"Reason": f"{runbook()}/Office365TenantFailing.md"},
            height=7,
            missing="no failing report is known",
        ),
        graph(
            "Polls an hour",
            {
                "{{report}}: polls": per_hour("polls_total", TENANT, "report"),
                "{{report}}: failed": per_hour("poll_failures_total", TENANT, "report"),
            },
            "Over all replicas.",
        ),
        graph(
            "Age of the report",
            {"{{report}}": age},
            "Since the report's own date: it rises for a day and falls when Microsoft brings a new one.",
            unit="s",
        ),
        graph(
            "Calls left in the exporter's call budget",
            {"{{report}}": f"min by (report) (office365_activations_quota_remaining_calls{{{TENANT}}})"},
            "Of the last ten minutes; the budget is half of what Microsoft allows.",
        ),
        graph(
            "Duration of the last poll",
            {"{{report}}": largest("last_poll_duration_seconds", "report", TENANT)},
            "Retries and waits included.",
            unit="s",
        ),
    ]
