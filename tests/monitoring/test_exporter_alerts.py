"""The alerts on the exporter itself, at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.monitoring.promtool import (
    DAY,
    HOUR,
    MINUTE,
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
    from pathlib import Path

pytestmark = pytest.mark.long

DOWN = alert("ExporterDown", "critical")
ABSENT = ("Office365ExporterAbsent",)


def credential(name: str, severity: str) -> str:
    """Return an alert on a credential."""
    return alert(name, severity, client_id="app")


def release(namespace: str, series: list[Series]) -> list[Series]:
    """Return the series of a release in a namespace."""
    return [
        Series(one.name, {**one.labels, "namespace": namespace, "service": "exporter"}, one.signal) for one in series
    ]


ONE = [*exporter(), *tenant()]
SCENARIOS = [
    Scenario("all is well", scraped(ONE), {HOUR: [], DAY: []}),
    Scenario(
        "down for four days",
        scraped(ONE, lambda time: time < HOUR),
        {HOUR: [], 1.1 * HOUR: [], 1.3 * HOUR: [DOWN], 25 * HOUR: [DOWN], 97 * HOUR: [DOWN]},
    ),
    Scenario(
        "its target is gone for four days",
        masked(scraped(ONE), lambda time: time < HOUR),
        {1.3 * HOUR: [DOWN], 97 * HOUR: [DOWN]},
    ),
    Scenario(
        "a pod replaced every 20 hours for a week, on another node each time",
        [
            Series(one.name, {**one.labels, "node": f"node-{one.labels['pod']}"}, one.signal)
            for one in pods(ONE, 20 * HOUR, 168 * HOUR)
        ],
        {h * HOUR: [] for h in (19.9, 20, 20.1, 20.3, 40.1, 100, 100.3, 168)},
    ),
    Scenario(
        "an upgrade whose pod never starts, with a healthy release in another namespace",
        [
            *release("healthy", scraped(ONE, instance="h")),
            *masked(release("broken", scraped(ONE, instance="old", pod="old")), lambda time: time < HOUR),
            *masked(
                [
                    Series(
                        "up",
                        {
                            "job": "office365",
                            "namespace": "broken",
                            "service": "exporter",
                            "instance": "new",
                            "pod": "new",
                        },
                        0.0,
                    )
                ],
                lambda time: time >= HOUR,
            ),
        ],
        {
            HOUR: [],
            1.5 * HOUR: [alert("ExporterDown", "critical", namespace="broken")],
            97 * HOUR: [alert("ExporterDown", "critical", namespace="broken")],
        },
    ),
    Scenario(
        "an upgrade whose pod is never scheduled, with a healthy release in another namespace",
        [
            *release("healthy", scraped(ONE, instance="h")),
            *masked(release("broken", scraped(ONE, instance="old", pod="old")), lambda time: time < HOUR),
        ],
        {
            HOUR: [],
            1.5 * HOUR: [alert("ExporterDown", "critical", namespace="broken")],
            97 * HOUR: [alert("ExporterDown", "critical", namespace="broken")],
        },
    ),
    Scenario(
        "one of two replicas is down",
        [*scraped(ONE, instance="a"), *scraped(ONE, lambda time: time < HOUR, instance="b")],
        {1.5 * HOUR: [DOWN], 30 * HOUR: [DOWN]},
    ),
    Scenario(
        "another program of the same job is none of our business",
        [
            *scraped(ONE),
            Series("up", {"job": "office365", "instance": "other-1"}, 1.0),
            Series("up", {"job": "office365", "instance": "other-2"}, 0.0),
        ],
        {HOUR: [], DAY: []},
    ),
    Scenario(
        "a restart of five minutes",
        scraped(ONE, lambda time: not HOUR <= time < HOUR + 5 * MINUTE),
        {1.1 * HOUR: [], 2 * HOUR: []},
    ),
    Scenario(
        "a gap of an hour while down",
        masked(scraped(ONE, lambda time: time < HOUR), lambda time: not 3 * HOUR <= time < 4 * HOUR),
        {2 * HOUR: [DOWN], 3.5 * HOUR: [DOWN], 4.1 * HOUR: [DOWN], 5 * HOUR: [DOWN]},
    ),
    # Credentials: one alert at a time.
    Scenario("31 days left", scraped(exporter(expiry=clock(31 * DAY))), {HOUR: []}),
    Scenario(
        "29 days left", scraped(exporter(expiry=clock(29 * DAY))), {HOUR: [credential("CredentialExpiring", "warning")]}
    ),
    Scenario(
        "exactly seven days left",
        scraped(exporter(expiry=clock(7 * DAY))),
        {HOUR: [credential("CredentialExpiringSoon", "critical")]},
    ),
    Scenario("expired", scraped(exporter(expiry=clock(-DAY))), {HOUR: [credential("CredentialExpired", "critical")]}),
    Scenario(
        "expires, and is replaced",
        scraped(exporter(expiry=lambda time: 2 * HOUR if time < 5 * HOUR else 90 * DAY)),
        {
            1.9 * HOUR: [credential("CredentialExpiringSoon", "critical")],
            2.2 * HOUR: [credential("CredentialExpired", "critical")],
            5.2 * HOUR: [],
        },
    ),
    # Storage, configuration, errors of its own.
    Scenario(
        "storage fails from the start",
        scraped(exporter(storage=0.0)),
        {0: [], 0.5 * HOUR: [alert("StorageDown", "warning")], 9 * HOUR: [alert("StorageDown", "warning")]},
    ),
    Scenario("no storage is configured", scraped(exporter(storage=lambda _: None)), {HOUR: []}),
    Scenario(
        "the storage of one of two replicas fails",
        [*scraped(exporter(), instance="a"), *scraped(exporter(storage=0.0), instance="b")],
        {HOUR: [alert("StorageDown", "warning")]},
    ),
    Scenario(
        "a configuration is refused, later taken",
        scraped(exporter(reloaded=lambda time: float(not HOUR <= time < 3 * HOUR))),
        {HOUR: [], 1.3 * HOUR: [alert("ConfigReloadFailed", "warning")], 3.5 * HOUR: []},
    ),
    Scenario(
        "a counter that is born as 1 is an error too",
        scraped([*exporter(internal=1.0), *tenant(reason=lambda time: "internal" if time < HOUR else "")]),
        {
            0.5 * HOUR: [alert("InternalError", "warning", reason="internal")],
            1.5 * HOUR: [alert("InternalError", "warning", reason="internal")],
            2.5 * HOUR: [],
        },
    ),
    Scenario(
        "an error between two good polls",
        scraped(exporter(internal=lambda time: float(time >= HOUR))),
        {0.9 * HOUR: [], 1.2 * HOUR: [alert("InternalError", "warning", reason="internal")], 4 * HOUR: []},
    ),
]
NOBODY = [
    Scenario(
        "no exporter at all",
        [Series("up", {"job": "node", "instance": "a"}, 1.0)],
        {0: [], 0.5 * HOUR: [alert("ExporterAbsent", "critical", job="")]},
    ),
]


@pytest.mark.parametrize("program", ["promtool", "promtool3"])
@pytest.mark.parametrize("scenarios", [SCENARIOS, NOBODY], ids=["exporters", "none"])
def test_exporter_alerts(program: str, scenarios: list[Scenario], tmp_path: Path) -> None:
    """The alerts on the exporter notice what is down, refused, broken or about to expire, through days and new pods."""
    check(program, scenarios, tmp_path, "tenants", "exporter")
