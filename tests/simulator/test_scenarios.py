"""The scenarios, as a whole poll sees them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest

from exporter.simulator.simulator import FAULTS as SHIPPED
from tests.full_simulator import SCENARIOS, Simulator, Stage
from tests.simulator.plain import Clock, error, in_process

if TYPE_CHECKING:
    from tests.simulator.plain import Plain


def polls(scenario: str, *, seed: int = 1, tenants: int = 3, times: int = 20) -> list[str]:
    """Return how each of `times` polls of each tenant ends: `ok`, a status with its step, or an exception's name."""
    simulator, clock = Simulator(seed, tenants, scenario), Clock()
    ends = []
    for tenant in simulator.tenants:
        plain = in_process(simulator, clock, tenant=tenant)
        for _ in range(times):
            simulator.open_windows()
            ends.append(_poll(plain))
            clock.sleep(3600)
    assert simulator.leaks == []
    return ends


def _poll(plain: Plain) -> str:
    try:
        answer = plain.ask_token()
        if answer.status_code != 200:
            return f"token {answer.status_code}"
        answer = plain.graph(answer.json()["access_token"])
        if answer.status_code == 200:
            return "ok"
        if answer.status_code != 302:
            return f"graph {answer.status_code}"
        answer = plain.client.get(answer.headers["Location"])
    except httpx.TransportError as cut:
        return type(cut).__name__
    if answer.status_code != 200:
        return f"download {answer.status_code}"
    return "ok" if b"Product Type,Assigned" in answer.content else "garbage"


def test_the_scenarios_have_the_names_that_users_type() -> None:
    """The nine names of the contract, each with a line about it."""
    assert set(SCENARIOS) == {
        "healthy",
        "low-activation",
        "flaky",
        "throttled",
        "outage",
        "no-consent",
        "expired-secret",
        "new-tenant",
        "garbage",
    }
    assert all(scenario.summary for scenario in SCENARIOS.values())


def test_the_shipped_faults_are_those_of_the_scenarios() -> None:
    """`exporter/simulator` knows the faults that scenarios name, and no others, which are in tests/full_simulator."""
    named = {name for scenario in SCENARIOS.values() for names in scenario.faults.values() for name in names}
    assert set(SHIPPED) == named


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("healthy", {"ok"}),
        ("low-activation", {"ok"}),
        ("throttled", {"graph 429"}),
        ("outage", {"graph 500", "graph 502", "graph 503", "graph 504"}),
        ("no-consent", {"graph 403"}),
        ("expired-secret", {"token 401"}),
        ("new-tenant", {"graph 404"}),
    ],
)
def test_every_poll_of_a_steady_scenario_ends_alike(name: str, ends: set[str]) -> None:
    """In these scenarios every poll of every tenant ends as the name says."""
    assert set(polls(name)) == ends


def test_flaky_is_mostly_good() -> None:
    """About half of the polls are good at once, and the others fail in several ways that a second try avoids."""
    ends = polls("flaky", times=60)
    assert 0.3 < ends.count("ok") / len(ends) < 0.8
    assert {"token 503", "graph 500", "graph 429", "download 403", "RemoteProtocolError"} <= set(ends)


def test_flaky_is_the_same_each_time() -> None:
    """A scenario's faults depend on the seed alone."""
    assert polls("flaky") == polls("flaky")
    assert polls("flaky") != polls("flaky", seed=2)


def test_garbage_is_never_a_report() -> None:
    """In `garbage` every kind of nonsense comes, and no line of it can be read as a report."""
    simulator, clock = Simulator(1, 5, "garbage"), Clock()
    seen = set()
    for tenant in simulator.tenants:
        plain = in_process(simulator, clock, tenant=tenant)
        for _ in range(14):
            with contextlib.suppress(httpx.DecodingError):
                plain.csv()
    seen = {record.fault for record in simulator.log if record.stage is Stage.DOWNLOAD}
    assert "" not in seen
    assert len(seen) >= 8


def test_consent_fixes_no_consent(plain: Plain, simulator: Simulator) -> None:
    """A tenant that is moved to `no-consent` loses its tokens; consent granted makes the next one good."""
    token = plain.token()
    simulator.set_scenario("contoso", "no-consent")
    assert plain.graph(token).status_code == 401
    refused = plain.graph()
    assert (refused.status_code, error(refused)["code"]) == (403, "S2SUnauthorized")
    simulator.grant_consent("contoso")
    assert plain.graph().status_code == 302


def test_a_new_secret_fixes_expired_secret(plain: Plain, simulator: Simulator) -> None:
    """A tenant that is moved to `expired-secret` needs a new one."""
    simulator.set_scenario("contoso", "expired-secret")
    assert plain.ask_token().json()["error_codes"] == [7000222]
    simulator.set_secret("contoso", "fresh")
    assert plain.ask_token(client_secret="fresh").status_code == 200


def test_a_scenario_may_be_one_tenants_own(simulator: Simulator, clock: Clock) -> None:
    """One tenant may be in another scenario than the rest, and come back."""
    simulator.set_scenario("fabrikam", "new-tenant")
    codes = [in_process(simulator, clock, tenant=tenant).graph().status_code for tenant in simulator.tenants]
    assert codes == [302, 404, 302]
    simulator.set_scenario("fabrikam", "healthy")
    assert in_process(simulator, clock, tenant=simulator.tenants[1]).graph().status_code == 302


def test_a_scenario_that_is_none_is_an_error() -> None:
    """A misspelt scenario is a KeyError, at once."""
    with pytest.raises(KeyError):
        Simulator(scenario="helthy")
