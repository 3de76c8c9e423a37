"""The alerts on tenants and their polls, at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.monitoring.promtool import (
    DAY,
    HOUR,
    P,
    Scenario,
    Series,
    alert,
    check,
    clock,
    exporter,
    masked,
    pods,
    scraped,
    tenant,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.monitoring.promtool import Signal

pytestmark = pytest.mark.long

BOTH = ("activations_user_counts", "activations_platform_counts")


def failing(reason: str, severity: str = "warning") -> str:
    """Return the alert of one failing tenant."""
    return alert("TenantFailing", severity, tenant="contoso", reason=reason)


def many(reason: str) -> str:
    """Return the alert of many failing tenants."""
    return alert("ManyTenantsFailing", "critical", reason=reason)


def from_hour(begin: float, reason: str, end: float = 1000) -> Callable[[float], str]:
    """Return the reason of polls that fail from one hour until another."""
    return lambda time: reason if begin * HOUR <= time < end * HOUR else ""


def crowd(failing: int, of: int, reason: Callable[[float], str]) -> list[Series]:
    """Return tenants of which some fail."""
    return [
        one for number in range(of) for one in tenant(f"t{number}", reason=reason if number < failing else lambda _: "")
    ]


def changed(series: list[Series], name: str, signal: Signal | float) -> list[Series]:
    """Return the series with another signal for one metric."""
    return [Series(one.name, one.labels, signal) if one.name == P + name else one for one in series]


NO_DATA = alert("TenantNoData", "warning", tenant="contoso")
GONE = alert("TenantNoData", "info", tenant="leaver")
EXPIRING = alert("MetricsExpiring", "warning", tenant="contoso")
QUOTA = alert("QuotaExhausted", "warning", tenant="contoso")
REPORT_STALE = alert("ReportStale", "warning", tenant="contoso")
NO_REPORT = (
    "report_refresh_timestamp_seconds",
    "last_success_timestamp_seconds",
    "data_expires_timestamp_seconds",
    "assigned_users",
    "activated_users",
    "shared_computer_users",
    "target_ratio",
)


def without_report(name: str = "contoso") -> list[Series]:
    """Return a tenant that has never had a report, and has not failed either."""
    return [one for one in tenant(name) if one.name.removeprefix(P) not in NO_REPORT]


def one(name: str, series: list[Series], firing: dict[float, list[str]], ignored: tuple[str, ...] = ()) -> Scenario:
    """Return a scenario of one exporter that is always scraped."""
    return Scenario(
        name, scraped([*exporter(), *series]), {hour * HOUR: alerts for hour, alerts in firing.items()}, ignored
    )


SCENARIOS = [
    one("all is well", tenant(reports=BOTH), {1: [], 8: [], 30: []}),
    one(
        "a reason for an operator: after 90 minutes",
        tenant(reason=from_hour(2, "permission")),
        {3.4: [], 3.9: [failing("permission")], 20: [failing("permission")]},
    ),
    one("one poll that fails is no alert", tenant(reason=from_hour(2, "credentials", 3.1)), {3: [], 3.5: [], 5: []}),
    one(
        "a reason that may pass: after three hours and a half",
        tenant(reason=from_hour(2, "network")),
        {5.4: [], 6: [failing("network")], 20: [failing("network")]},
    ),
    one(
        "both reports fail: one alert",
        tenant(reason=from_hour(2, "credentials"), reports=BOTH),
        {4: [failing("credentials")], 20: [failing("credentials")]},
    ),
    one(
        "fixed: it ends within two hours",
        tenant(reason=from_hour(2, "credentials", 9)),
        {8: [failing("credentials")], 9.5: [failing("credentials")], 11: []},
    ),
    one(
        "a reason that flaps is one alert, of the reason that an operator sees to",
        tenant(reason=lambda time: "server" if int(time / HOUR) % 2 else "network"),
        {5: [failing("network")], 9.5: [failing("network")], 14: [failing("network")], 14.5: [failing("network")]},
    ),
    one(
        "failures of four hours in every five",
        tenant(reason=lambda time: "" if time % (5 * HOUR) < HOUR else "network"),
        {
            9: [failing("network")],
            10.5: [failing("network")],
            10.9: [failing("network")],
            15.9: [failing("network")],
            21: [failing("network")],
        },
    ),
    one(
        "failures of one hour in five",
        tenant(reason=lambda time: "network" if time % (5 * HOUR) < HOUR else ""),
        {9: [], 10.9: [], 15.9: [], 21: []},
    ),
    Scenario(
        "failing over a gap of an hour while pending and while firing, and stale markers every 17 hours",
        scraped(
            [*exporter(), *tenant(reason=from_hour(0, "network"))],
            lambda time: not (2 * HOUR <= time < 3 * HOUR or 8 * HOUR <= time < 9 * HOUR or time % (17 * HOUR) == 0),
        ),
        {
            6 * HOUR: [failing("network")],
            8.5 * HOUR: [failing("network")],
            9 * HOUR: [failing("network")],
            17 * HOUR: [failing("network")],
            20 * HOUR: [failing("network")],
        },
        ("Office365MetricsExpiring", "Office365ExporterDown"),
    ),
    Scenario(
        "two replicas, one of them failing",
        [
            *scraped([*exporter(), *tenant()], instance="a"),
            *scraped([*exporter(), *tenant(reason=from_hour(0, "network"))], instance="b"),
        ],
        {8 * HOUR: [], 70 * HOUR: []},
    ),
    Scenario(
        "two replicas, both failing, are one alert",
        [
            *scraped([*exporter(), *tenant(reason=from_hour(0, "network"))], instance="a"),
            *scraped([*exporter(), *tenant(reason=from_hour(0, "network"))], instance="b"),
        ],
        {8 * HOUR: [failing("network")]},
    ),
    # Reports.
    one("a report older than 96 hours", tenant(refreshed=clock(-96 * HOUR - 60)), {0: [], 1: [REPORT_STALE]}),
    one("a report of 95 hours", tenant(refreshed=clock(-95 * HOUR)), {1: [], 10: []}),
    one(
        "a report that is old because polls fail is not Microsoft's delay",
        tenant(refreshed=clock(-100 * HOUR), reason=from_hour(0, "network")),
        {8: [failing("network")]},
    ),
    one(
        "a report frozen for a week",
        tenant(refreshed=lambda time: min(time, DAY) - 2 * DAY),
        {60: [], 73: [REPORT_STALE], 168: [REPORT_STALE]},
    ),
    one(
        "a report frozen for days, and single polls that fail",
        tenant(
            refreshed=lambda time: min(time, DAY) - 2 * DAY,
            reason=lambda time: "network" if time // HOUR % 6 == 5 else "",
        ),
        {76.9 + minutes / 60: [REPORT_STALE] for minutes in (0, 10, 30, 60, 70, 90)},
    ),
    # Numbers that go.
    one(
        "numbers expire: warned of when a third of max_age is left, and missed six hours after",
        tenant(reason=from_hour(1, "network")),
        {47: [], 50: [EXPIRING], 71: [EXPIRING], 74: [], 78.5: [], 79.2: [NO_DATA], 90: [NO_DATA]},
        ("Office365TenantFailing",),
    ),
    one(
        "a max_age of three hours, polled every hour",
        changed(
            changed(tenant(), "last_success_timestamp_seconds", lambda time: time // HOUR * HOUR),
            "data_expires_timestamp_seconds",
            lambda time: time // HOUR * HOUR + 3 * HOUR,
        ),
        {5: [], 5.9: []},
    ),
    one("enabled, and no report in six hours", without_report(), {5.9: [], 6.2: [NO_DATA], 20: [NO_DATA]}),
    one(
        "a tenant added an hour ago has time",
        [*tenant("old"), *masked(without_report(), lambda time: time >= 9 * HOUR)],
        {10: [], 14.8: [], 15.3: [NO_DATA]},
    ),
    one(
        "numbers lost in a restart without storage",
        [
            one if one.name.removeprefix(P) not in NO_REPORT else masked([one], lambda time: time < 5 * HOUR)[0]
            for one in tenant()
        ],
        {5: [], 10.9: [], 11.4: [NO_DATA]},
    ),
    one(
        "a tenant removed is reported for a day",
        [*tenant("other"), *masked(tenant("leaver"), lambda time: time < 5 * HOUR)],
        {5: [], 5.5: [GONE], 28.5: [GONE], 29.5: []},
    ),
    one(
        "a tenant renamed is not gone",
        [
            *masked(tenant("before"), lambda time: time < 5 * HOUR),
            *[
                Series(
                    one.name,
                    {**one.labels, **({"tenant_id": "id-before"} if "tenant_id" in one.labels else {})},
                    one.signal,
                )
                for one in masked(tenant("after"), lambda time: time >= 5 * HOUR)
            ],
        ],
        {5.5: [], 12: []},
    ),
    Scenario(
        "an exporter that is down takes no tenant away",
        scraped([*exporter(), *tenant(reason=from_hour(0, "network", 1))], lambda time: time < 5 * HOUR),
        {6 * HOUR: [], 12 * HOUR: [], 29 * HOUR: []},
        ("Office365ExporterDown",),
    ),
    Scenario(
        "a pod replaced every 20 hours, a tenant failing for days",
        pods([*exporter(), *tenant(reason=from_hour(1, "permission"))], 20 * HOUR, 70 * HOUR),
        {h * HOUR: [failing("permission")] for h in (19.9, 20, 20.2, 40, 40.1, 70)},
        ("Office365MetricsExpiring",),
    ),
    one(
        "rows rejected for six hours",
        changed(tenant(), "last_poll_rejected_rows", 2.0),
        {5.9: [], 6.3: [alert("RowsRejected", "info", tenant="contoso")]},
    ),
    one(
        "rows rejected for two hours",
        changed(tenant(), "last_poll_rejected_rows", lambda time: float(HOUR * 7 <= time < HOUR * 9)),
        {8: [], 9: [], 14: []},
    ),
    one(
        "no calls left for an hour",
        changed(tenant(), "quota_remaining_calls", lambda time: 0.0 if time >= 2 * HOUR else 6.0),
        {2.4: [], 3.2: [QUOTA], 9: [QUOTA]},
    ),
    one(
        "no calls left but for moments in which one becomes free",
        changed(tenant(), "quota_remaining_calls", lambda time: float(time // 300 % 5 == 4)),
        {hour: [QUOTA] for hour in (2.5, 3, 3.1, 3.4, 5)},
    ),
    one(
        "no calls left for half an hour",
        changed(tenant(), "quota_remaining_calls", lambda time: 0.0 if 2 * HOUR <= time < 2.5 * HOUR else 6.0),
        {2.4: [], 3.5: []},
    ),
    one(
        "a new tenant without calls",
        masked(changed(tenant(), "quota_remaining_calls", 0.0), lambda time: time >= HOUR),
        {1.5: [], 1.9: []},
    ),
]

# The single alerts are held back by Alertmanager. A run of its own: promtool 2 loads 10,000 samples at most.
MANY = [
    one(
        "ten of forty share a secret",
        crowd(10, 40, from_hour(1, "credentials")),
        {0.9: [], 1.5: [many("credentials")], 9: [many("credentials")]},
        ("Office365TenantFailing",),
    ),
    one("nine of ten are not many", crowd(9, 10, from_hour(1, "credentials")), {9: []}, ("Office365TenantFailing",)),
    one(
        "ten of 41 are not a quarter", crowd(10, 41, from_hour(1, "credentials")), {9: []}, ("Office365TenantFailing",)
    ),
    one("a short outage at Microsoft is not many", crowd(12, 40, from_hour(1, "server", 2)), {2: [], 3: [], 5: []}),
    one(
        "a long outage is",
        crowd(12, 40, from_hour(1, "server")),
        {2: [], 3: [many("server")], 9: [many("server")]},
        ("Office365TenantFailing",),
    ),
    one(
        "many: it outlasts the single alerts",
        crowd(12, 40, from_hour(1, "credentials", 9)),
        {9.1: [many("credentials")], 11.9: [many("credentials")], 13.5: []},
        ("Office365TenantFailing",),
    ),
]


@pytest.mark.parametrize("program", ["promtool", "promtool3"])
@pytest.mark.parametrize("scenarios", [SCENARIOS, MANY], ids=["one", "many"])
def test_tenant_alerts(program: str, scenarios: list[Scenario], tmp_path: Path) -> None:
    """The alerts on tenants fire when somebody has to do something, once, and last as long as that."""
    check(program, scenarios, tmp_path, "report", "tenants", "exporter")
