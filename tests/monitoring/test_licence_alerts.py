"""The alerts on the report's numbers, at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.monitoring.promtool import (
    DAY,
    HOUR,
    MINUTE,
    P,
    Scenario,
    Series,
    alert,
    check,
    check_numbers,
    clock,
    exporter,
    masked,
    pods,
    scraped,
    tenant,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.monitoring.promtool import Signal

pytestmark = pytest.mark.long

LOW = alert("ActivationRatioLow", "info", tenant="contoso", product_type="APPS")
STALE = alert("ReportStale", "warning", tenant="contoso")
FELL = alert("ActivationRatioFell", "info", tenant="contoso", product_type="APPS")
DROPPED = alert("AssignedUsersDropped", "warning", tenant="contoso", product_type="APPS")


def hourly(
    name: str, series: Sequence[Series], firing: dict[float, list[str]], ignored: Sequence[str] = ()
) -> Scenario:
    """Return a scenario over weeks, scraped once an hour; `series` are those of one tenant."""
    return Scenario(name, scraped([*exporter(), *series], step=HOUR), firing, ignored, step=HOUR)


def outage(name: str, series: Sequence[Series], days: tuple[float, float], firing: dict[float, list[str]]) -> Scenario:
    """Return such a scenario of an exporter that is down from one day to another."""
    begin, end = (day * DAY for day in days)
    down = scraped([*exporter(), *series], lambda time: not begin <= time < end, HOUR)
    return Scenario(name, down, firing, ("Office365ExporterDown", "Office365ExporterAbsent"), step=HOUR)


def at(day: float, before: float, after: float) -> Signal:
    """Return a number that changes once."""
    return lambda time: before if time < day * DAY else after


def products(series: Sequence[Series]) -> list[Series]:
    """Return those of a tenant's series that name a product type."""
    return [one for one in series if "product_type" in one.labels]


def rest(series: Sequence[Series]) -> list[Series]:
    """Return the others."""
    return [one for one in series if "product_type" not in one.labels]


LOW_APPS = tenant(activated=60.0)

HOURLY = [
    hourly("a healthy tenant", tenant(), {15 * DAY: [], 20 * DAY: []}),
    hourly("low: after two weeks, not before", LOW_APPS, {13.9 * DAY: [], 15 * DAY: [LOW], 20 * DAY: [LOW]}),
    hourly(
        "low: both reports on",
        tenant(activated=60.0, reports=("activations_user_counts", "activations_platform_counts")),
        {15 * DAY: [LOW], 20 * DAY: [LOW]},
    ),
    hourly("no target, no alert", [one for one in LOW_APPS if "target" not in one.name], {15 * DAY: []}),
    hourly("shared computers only", tenant(activated=0.0, shared=190.0), {15 * DAY: [], 20 * DAY: []}),
    hourly("shared computers, too few", tenant(activated=0.0, shared=90.0), {15 * DAY: [LOW]}),
    hourly("activated above assigned", tenant(activated=230.0), {15 * DAY: [], 20 * DAY: []}),
    hourly("a target of everybody, reached", tenant(activated=200.0, target=1.0), {15 * DAY: []}),
    hourly(
        "licences added count after two weeks",
        tenant(assigned=at(15, 200.0, 2000.0)),
        {16 * DAY: [], 28.9 * DAY: [], 30 * DAY: [LOW]},
    ),
    hourly(
        "one good day in two resets it",
        tenant(activated=lambda time: 101.0 if int(time / DAY) % 2 else 82.0),
        {15.5 * DAY: [], 18.5 * DAY: []},
    ),
    hourly(
        "a target that is reached ends it", tenant(activated=at(17, 60.0, 120.0)), {16.9 * DAY: [LOW], 17.2 * DAY: []}
    ),
    hourly(
        "a tenant added yesterday",
        [*tenant(), *masked(tenant("new", activated=2.0), lambda time: time >= 19 * DAY, HOUR)],
        {20 * DAY: []},
    ),
    hourly(
        "a product renamed: the old name ends, the new one has to settle",
        [
            *rest(tenant()),
            *masked(products(tenant(activated=60.0)), lambda time: time < 16 * DAY, HOUR),
            *masked(products(tenant(activated=60.0, product="RENAMED")), lambda time: time >= 16 * DAY, HOUR),
        ],
        {
            16 * DAY - HOUR: [LOW],
            17 * DAY: [],
            29.9 * DAY: [],
            31 * DAY: [alert("ActivationRatioLow", "info", tenant="contoso", product_type="RENAMED")],
        },
    ),
    hourly(
        "a tenant removed: its alert ends",
        [*tenant("other"), *masked(LOW_APPS, lambda time: time < 16 * DAY, HOUR)],
        {15 * DAY: [LOW], 16.5 * DAY: []},
        ignored=["Office365TenantNoData"],
    ),
    hourly(
        "a report frozen for a week is stale, and its ratio silent",
        tenant(activated=60.0, refreshed=lambda time: min(time, 15 * DAY) - 2 * DAY),
        {16.8 * DAY: [LOW], 17.2 * DAY: [STALE], 22 * DAY: [STALE]},
    ),
    hourly(
        "ratio fell by more than ten points in a week, for a week",
        tenant(activated=at(10, 150.0, 128.0)),
        {9.9 * DAY: [], 10.2 * DAY: [FELL], 16.8 * DAY: [FELL], 17.2 * DAY: []},
    ),
    hourly("ratio fell by nine points", tenant(activated=at(10, 150.0, 132.0)), {10.2 * DAY: [], 12 * DAY: []}),
    hourly(
        "new licences do not make a ratio fall", tenant(assigned=at(10, 200.0, 400.0)), {10.2 * DAY: [], 12 * DAY: []}
    ),
    hourly("above assigned, a fall does not count", tenant(activated=at(10, 250.0, 205.0)), {10.2 * DAY: []}),
    hourly(
        "small tenants jump",
        tenant(assigned=9.0, activated=at(10, 8.0, 2.0), target=lambda _: None),
        {11 * DAY: []},
    ),
    hourly(
        "assigned users fall by nine tenths: for a day",
        tenant(assigned=at(10, 200.0, 20.0), activated=20.0),
        {9.9 * DAY: [], 10.1 * DAY: [DROPPED], 10.9 * DAY: [DROPPED], 11.2 * DAY: []},
    ),
    hourly(
        "assigned users fall by four tenths", tenant(assigned=at(10, 200.0, 120.0)), {10.1 * DAY: [], 10.9 * DAY: []}
    ),
    hourly("eight users become three", tenant(assigned=at(10, 8.0, 3.0), activated=3.0), {10.1 * DAY: []}),
    hourly(
        "a product that goes is no fall, and neither is one that comes",
        [
            *tenant(),
            *masked(products(tenant(product="OLD")), lambda time: time < 10 * DAY, HOUR),
            *masked(products(tenant(product="NEW")), lambda time: time >= 10 * DAY, HOUR),
        ],
        {10.2 * DAY: [], 11 * DAY: []},
    ),
    outage(
        "an exporter that is down for four days; afterwards the ratio alert is back",
        LOW_APPS,
        (16, 20),
        {15 * DAY: [LOW], 17.9 * DAY: [], 20.5 * DAY: [LOW], 31 * DAY: [LOW]},
    ),
    outage(
        "assigned users fall while the exporter is down",
        tenant(assigned=at(10, 200.0, 20.0), activated=20.0),
        (9.5, 12),
        {9 * DAY: [], 12.2 * DAY: [DROPPED], 12.9 * DAY: [DROPPED], 13.2 * DAY: []},
    ),
    outage(
        "a ratio that fell, compared with a time when the exporter was down",
        tenant(activated=at(10, 150.0, 128.0)),
        (6, 6.25),
        {day * DAY: [FELL] for day in (10.2, 13, 13.1, 13.2, 13.4, 16.8)},
    ),
]
END = 16 * DAY
HALF = 30 * MINUTE
HALF_HOURLY = [
    Scenario(
        "low: a pod replaced every 20 hours",
        pods([*exporter(), *LOW_APPS], 20 * HOUR, END, HALF),
        {14.5 * DAY: [LOW], 15.3 * DAY: [LOW], END: [LOW]},
        step=HALF,
    ),
    Scenario(
        "low: a gap of an hour while pending and while firing, and stale markers every 17 hours",
        scraped(
            [*exporter(), *LOW_APPS],
            lambda time: (
                not (
                    14 * DAY + HALF <= time < 14 * DAY + 90 * MINUTE
                    or 15 * DAY <= time < 15 * DAY + HOUR
                    or time % (17 * HOUR) == 0
                )
            ),
            HALF,
        ),
        {
            14 * DAY + 2 * HOUR: [LOW],
            15 * DAY: [LOW],
            15 * DAY + 30 * MINUTE: [LOW],
            15 * DAY + 65 * MINUTE: [LOW],
            15 * DAY + 5 * HOUR: [LOW],
        },
        step=HALF,
    ),
    Scenario(
        "two replicas: one has a report that is four weeks old, the fresher speaks",
        [
            *scraped([*exporter(), *tenant()], step=HALF, instance="a"),
            *scraped(
                [*exporter(), *tenant(activated=3.0, assigned=900.0, refreshed=clock(-28 * DAY))],
                step=HALF,
                instance="b",
            ),
        ],
        {14.5 * DAY: [], END: []},
        step=HALF,
    ),
]


@pytest.mark.parametrize("program", ["promtool", "promtool3"])
@pytest.mark.parametrize("scenarios", [HOURLY, HALF_HOURLY], ids=["hourly", "half-hourly"])
def test_licence_alerts(program: str, scenarios: Sequence[Scenario], tmp_path: Path) -> None:
    """The alerts on the report's numbers fire when licences lie idle, fall or vanish, and for nothing else."""
    check(program, scenarios, tmp_path, "report", "tenants", "licences")


NUMBERS = [
    *tenant("contoso", assigned=200.0, activated=150.0),
    *products(tenant("contoso", product="VISIO", assigned=40.0, activated=44.0)),
    *products(tenant("contoso", product="EXCEL", assigned=200.0, activated=0.0, target=lambda _: None)),
    *tenant("fabrikam", assigned=100.0, activated=20.0),
    Series(
        P + "license_price",
        {"job": "office365", "tenant": "contoso", "product_type": "APPS", "currency": "EUR"},
        10.0,
    ),
    Series(
        P + "license_price",
        {"job": "office365", "tenant": "contoso", "product_type": "VISIO", "currency": "EUR"},
        5.0,
    ),
    Series(
        P + "license_price",
        {"job": "office365", "tenant": "fabrikam", "product_type": "APPS", "currency": "USD"},
        8.0,
    ),
]
RECORDED: dict[str, dict[str, float]] = {
    "tenant_product:{}activated_per_assigned:ratio": {
        '{tenant="contoso", product_type="APPS"}': 0.75,
        '{tenant="contoso", product_type="VISIO"}': 1.1,
        '{tenant="contoso", product_type="EXCEL"}': 0,
        '{tenant="fabrikam", product_type="APPS"}': 0.2,
    },
    "tenant:{}activated_per_assigned:ratio": {'{tenant="contoso"}': 194 / 240, '{tenant="fabrikam"}': 0.2},
    "job:{}activated_per_assigned:ratio": {"{}": 214 / 340},
    "tenant:{}assignments:sum": {'{tenant="contoso"}': 440, '{tenant="fabrikam"}': 100},
    "job:{}assignments:sum": {"{}": 540},
    "job:{}activated_assignments:sum": {"{}": 214},
    "job:{}unactivated_assignments:sum": {"{}": 330},
    "tenant_product:{}unactivated_cost:latest": {
        '{tenant="contoso", product_type="APPS", currency="EUR"}': 500,
        '{tenant="contoso", product_type="VISIO", currency="EUR"}': 0,
        '{tenant="fabrikam", product_type="APPS", currency="USD"}': 640,
    },
    "tenant:{}unactivated_cost:sum": {
        '{tenant="contoso", currency="EUR"}': 500,
        '{tenant="fabrikam", currency="USD"}': 640,
    },
    "job:{}unactivated_cost:sum": {'{currency="EUR"}': 500, '{currency="USD"}': 640},
}


@pytest.mark.parametrize("program", ["promtool", "promtool3"])
def test_recorded_numbers(program: str, tmp_path: Path) -> None:
    """Of two replicas and a pod's successor each number counts once; ratios are not clamped, money has its currency."""
    older = [*tenant(assigned=7.0, activated=7.0, refreshed=clock(-9 * DAY))]
    replicas = [
        *scraped([*exporter(), *NUMBERS], instance="a", pod="a"),
        *scraped([*exporter(), *NUMBERS], instance="b", pod="b"),
        *scraped([*exporter(), *older], instance="c", pod="c"),
    ]
    check_numbers(
        program,
        replicas,
        {
            name.format(P): {'{job="office365", ' + labels[1:]: value for labels, value in found.items()}
            for name, found in RECORDED.items()
        },
        tmp_path,
    )
