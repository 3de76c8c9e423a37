"""All tenants: how much of what is assigned is activated, where it is not, and whether the numbers are fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.addresses import runbook
from monitoring.dashboards import parts
from monitoring.dashboards.parts import DAY, GREEN, ORANGE, RED, YELLOW, Column, figure, graph, listing
from monitoring.dashboards.queries import (
    AT_END,
    BEFORE,
    FAILING,
    NOW,
    PER_REPORT,
    REPORT_AGE,
    TENANT,
    UP,
    largest,
    of_ranked,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard

    from monitoring.dashboards.parts import Panel, Rows

_PRODUCTS = {"tenant": "Tenant", "product_type": "Product type"}
_TO_TENANT = {"Tenant": parts.TENANT_LINK}


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    rows: Rows = {
        "Now": _now(),
        "Over time": _trend(),
        "Where licences are not activated": _rankings(),
        "Polls and freshness": _polls(),
    }
    return parts.frame(
        "office365-overview",
        "Microsoft 365 activations / Overview",
        "Licences that were assigned, and how many of them were activated, over all tenants.",
        days=90,
        variables=(parts.JOB, parts.tenant(several=True), parts.PRODUCT),
        rows=rows,
    )


def _now() -> list[Panel]:
    return [
        figure(
            "Ratio",
            NOW.headline(),
            "Activated of assigned, over all products that have a target. Assignments, not people.",
            unit="percentunit",
            missing="no product with a target",
        ),
        figure(
            "Below target",
            f"sum (({NOW.ratio}) < bool {NOW.target})",
            "A tenant's product whose ratio is below its target; the table below names them.",
            steps={None: GREEN, 1: ORANGE},
            missing="no product with a target",
        ),
        figure(
            "Assigned",
            f"sum ({NOW.assigned} and {NOW.target})",
            "Assignments of the products that have a target: not people, and not purchases.",
            missing="no product with a target",
        ),
        figure(
            "Not activated",
            f"sum ({NOW.idle_targeted})",
            "Of the products that have a target: assigned, but not activated on any device. Users of shared computers "
            "may be among them.",
            missing="no product with a target",
        ),
        figure(
            "Cost a month",
            f"sum by (currency) ({NOW.cost})",
            "What licences that are not activated cost a month, for products with a price in `prices`.",
            unit="short",
            legend="{{currency}}",
            missing="no prices configured",
        ),
        figure("Tenants", f"count ({largest('tenant_info', 'tenant', TENANT)})", "Enabled tenants."),
        figure(
            "Failing",
            f"sum ((min by (tenant) ({UP})) < bool 1)",
            "Tenants with a report that no exporter can read now; the table below says why.",
            steps={None: GREEN, 1: RED},
        ),
        figure(
            "Oldest report",
            f"max ({REPORT_AGE})",
            "Since the oldest report's own date. Microsoft is usually one to two days behind.",
            unit="s",
            steps={None: GREEN, 4 * DAY: YELLOW, 7 * DAY: RED},
        ),
    ]


def _trend() -> list[Panel]:
    weighted = f"sum ({NOW.target} * {NOW.assigned}) / sum ({NOW.assigned} and {NOW.target})"
    return [
        graph(
            "Activated of assigned",
            {"ratio": NOW.headline(), "target": weighted},
            "Of all products that have a target; the target is weighted by assigned users.",
            unit="percentunit",
            dashed="target",
        ),
        graph(
            "Assignments",
            {
                "assigned": f"sum ({NOW.assigned} and {NOW.target})",
                "activated": f"sum ({NOW.activated} and {NOW.target})",
                "shared computer": f"sum ({NOW.shared} and {NOW.target})",
                "not activated": f"sum ({NOW.idle_targeted})",
            },
            "Of all products that have a target. Shared-computer users may be among the activated ones or not.",
        ),
    ]


def _rankings() -> list[Panel]:
    lowest = f"bottomk (20, ({NOW.ratio}) and {NOW.target})"
    lowest_at_end = f"bottomk (10, ({AT_END.ratio}) and {AT_END.target})"
    idle_by_tenant = f"sum by (tenant) ({NOW.idle_targeted})"
    most = f"topk (20, {idle_by_tenant})"

    def product(expression: str) -> str:
        return of_ranked(expression, lowest)

    def tenant(expression: str) -> str:
        return of_ranked(expression, most, "tenant")

    return [
        listing(
            "Products with the lowest ratio",
            {
                "Assigned": Column(product(NOW.assigned)),
                "Activated": Column(product(NOW.activated)),
                "Not activated": Column(product(NOW.idle)),
                "Ratio": Column(lowest, "percentunit"),
                "Against target": Column(
                    product(f"({NOW.ratio}) - {NOW.target}"), "percentunit", {None: ORANGE, 0: GREEN}
                ),
                "In 30 days": Column(product(f"({NOW.ratio}) - ({BEFORE.ratio})"), "percentunit"),
            },
            "The 20 lowest of those that have a target; the last column is the ratio's change in 30 days.",
            labels=_PRODUCTS,
            links=_TO_TENANT,
            sort="Ratio",
            width=24,
        ),
        listing(
            "Tenants with most licences not activated",
            {
                "Assigned": Column(tenant(f"sum by (tenant) ({NOW.assigned} and {NOW.target})")),
                "Activated": Column(tenant(f"sum by (tenant) ({NOW.activated} and {NOW.target})")),
                "Not activated": Column(most),
                "Ratio": Column(tenant(NOW.headline("tenant")), "percentunit"),
            },
            "The first 20, by the products that have a target.",
            labels={"tenant": "Tenant"},
            links=_TO_TENANT,
            sort="Not activated",
            descending=True,
        ),
        listing(
            "What not activated licences cost a month",
            {"A month": Column(f"topk by (currency) (20, sum by (tenant, product_type, currency) ({NOW.cost}))")},
            "The 20 most expensive of each currency: assigned but not activated, times the price in `prices`.",
            labels=_PRODUCTS | {"currency": "Currency"},
            links=_TO_TENANT,
            sort="A month",
            descending=True,
            missing="no prices configured",
        ),
        graph(
            "The lowest ratios over time",
            {"{{tenant}} · {{product_type}}": of_ranked(NOW.ratio, lowest_at_end)},
            "The ten lowest at the end of the range, of the products that have a target.",
            unit="percentunit",
            width=24,
        ),
    ]


def _polls() -> list[Panel]:
    failing = f"({FAILING})"
    age = f"time() - {largest('last_success_timestamp_seconds', PER_REPORT, TENANT)}"
    left = f"{largest('data_expires_timestamp_seconds', PER_REPORT, TENANT)} - time()"
    by_reason = f"count by (reason) (max by (tenant, reason) {failing})"
    return [
        listing(
            "Failing reports",
            {
                "Failing": Column(FAILING, hidden=True),
                "Last success": Column(f"{failing} * on ({PER_REPORT}) group_left () ({age})", "s"),
                "Numbers left for": Column(
                    f"{failing} * on ({PER_REPORT}) group_left () ({left})",
                    "s",
                    {None: RED, DAY: ORANGE, 2 * DAY: YELLOW},
                ),
            },
            "No exporter can read these now; the reason leads to what to do, and the status page says it for each.",
            labels={"tenant": "Tenant", "report": "Report", "reason": "Reason"},
            links=_TO_TENANT | {"Reason": f"{runbook()}/Office365TenantFailing.md"},
            sort="Numbers left for",
            height=7,
            missing="no failing report is known",
        ),
        graph(
            "Failing tenants by reason",
            {"{{reason}}": by_reason},
            "Empty while every tenant's reports can be read.",
            missing="no failing report is known",
        ).height(7),
        listing(
            "Oldest reports",
            {"Age": Column(f"topk (20, {REPORT_AGE})", "s", {None: GREEN, 4 * DAY: ORANGE, 7 * DAY: RED})},
            "Since the report's own date; Microsoft is usually one to two days behind.",
            labels={"tenant": "Tenant", "report": "Report"},
            links=_TO_TENANT,
            sort="Age",
            descending=True,
        ),
        graph(
            "Age of the reports",
            {"oldest": f"max ({REPORT_AGE})", "median": f"quantile (0.5, {REPORT_AGE})"},
            "Since the report's own date.",
            unit="s",
        ),
    ]
