"""One poll, from token to outcome, against the simulation over real sockets and TLS."""

from __future__ import annotations

import json
import logging
import random
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from exporter.auth.credentials import Credentials
from exporter.auth.tokens import TokenSource
from exporter.config import Cloud, Report
from exporter.errors import Reason
from exporter.http import MAX_BODY, Clients, Proxy, tls_context
from exporter.poller import Poller
from exporter.quota import LIMITS, Budget
from exporter.state import Failure, Outcome, Row, Standing
from tests.builders import NOON, PLATFORMS, USERS, Clock, simulated, snapshot
from tests.full_simulator import FAULTS, Fault, Response, Simulator, SimulatorServer, SimulatorTransport, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config import Tenant
    from exporter.simulator.state import Call

OK = None
# Fault → how a poll ends in which every call meets it, and how many calls to Graph that poll makes; a transient one is
# retried until the exporter's budget of seven calls is spent.
CSV_FAULTS: dict[str, tuple[Reason | None, int]] = {
    "400-segment": (Reason.UNSUPPORTED, 1),
    "400-json-format": (Reason.UNSUPPORTED, 1),
    "400-json-format-wrapped": (Reason.UNSUPPORTED, 1),
    "401-expired": (Reason.CREDENTIALS, 2),
    "401-claims": (Reason.CREDENTIALS, 2),
    "403-s2s": (Reason.PERMISSION, 1),
    "403-scope": (Reason.PERMISSION, 1),
    "403-wrapped": (Reason.PERMISSION, 1),
    "403-missing-credentials": (Reason.SERVER, 7),
    "403-empty": (Reason.PERMISSION, 1),
    "404-unknown-tenant": (Reason.TENANT, 1),
    "429": (Reason.THROTTLED, 1),
    "429-no-retry-after": (Reason.THROTTLED, 1),
    "429-unknown-error": (Reason.THROTTLED, 1),
    "429-nonsense": (Reason.THROTTLED, 1),
    "429-for-ever": (Reason.THROTTLED, 1),
    "429-date": (Reason.THROTTLED, 1),
    "429-short": (Reason.THROTTLED, 7),
    "429-negative": (Reason.THROTTLED, 1),
    "500-empty": (Reason.SERVER, 7),
    "502-html": (Reason.SERVER, 7),
    "503": (Reason.SERVER, 7),
    "504": (Reason.SERVER, 7),
    "418": (Reason.SERVER, 1),
    "204": (Reason.SERVER, 1),
    "304": (Reason.SERVER, 1),
    "download-401-html": (Reason.DOWNLOAD, 7),
    "download-403-html": (Reason.DOWNLOAD, 7),
    "download-404-xml": (Reason.DOWNLOAD, 7),
    "download-410-xml": (Reason.DOWNLOAD, 7),
    "download-429": (Reason.THROTTLED, 1),
    "download-503-xml": (Reason.SERVER, 7),
    "token-wrong-secret": (Reason.CREDENTIALS, 0),
    "token-expired-secret": (Reason.CREDENTIALS, 0),
    "token-unknown-app": (Reason.CREDENTIALS, 0),
    "token-no-principal": (Reason.CREDENTIALS, 0),
    "token-no-consent": (Reason.CREDENTIALS, 0),
    "token-unknown-tenant": (Reason.TENANT, 0),
    "token-certificate": (Reason.CREDENTIALS, 0),
    "token-conditional-access": (Reason.CREDENTIALS, 0),
    "cut": (Reason.NETWORK, 7),
    "cut-body": (Reason.NETWORK, 7),
    "slow": (Reason.NETWORK, 1),
    "hang": (Reason.NETWORK, 1),
    "drip": (Reason.NETWORK, 1),
    "drip-headers": (Reason.NETWORK, 1),
    "endless": (Reason.REPORT, 1),
    "header-flood": (Reason.NETWORK, 7),
    "cookie": (OK, 1),
    "gzip": (OK, 1),
    "gzip-broken": (Reason.NETWORK, 7),
    "gzip-bomb": (Reason.REPORT, 1),
    "redirect-loop": (Reason.REDIRECT, 1),
    "redirect-private": (Reason.REDIRECT, 1),
    "redirect-loopback": (Reason.REDIRECT, 1),
    "redirect-metadata": (Reason.REDIRECT, 1),
    "redirect-http": (Reason.REDIRECT, 1),
    "redirect-scheme": (Reason.REDIRECT, 1),
    "redirect-host": (Reason.REDIRECT, 1),
    "redirect-userinfo": (Reason.REDIRECT, 1),
    "redirect-garbage": (Reason.REDIRECT, 1),
    "redirect-nowhere": (Reason.REDIRECT, 1),
    "download-redirect-loop": (Reason.REDIRECT, 1),
    "direct-csv": (OK, 1),
    "two-boms": (OK, 1),
    "no-bom": (OK, 1),
    "datetime-date": (OK, 1),
    "reordered-columns": (OK, 1),
    "extra-column": (OK, 1),
    "twice-equal": (OK, 1),
    "older-report": (OK, 1),
    "mixed-dates": (OK, 1),
    "empty-report": (Reason.REPORT, 1),
    "empty-body": (Reason.REPORT, 1),
    "html": (Reason.REPORT, 1),
    "binary": (Reason.REPORT, 1),
    "invalid-utf-8": (Reason.REPORT, 1),
    "utf-16": (Reason.REPORT, 1),
    "nul-bytes": (Reason.REPORT, 1),
    "no-header": (Reason.REPORT, 1),
    "missing-column": (Reason.REPORT, 1),
    "truncated": (Reason.REPORT, 1),
    "bad-numbers": (Reason.REPORT, 1),
    "float-numbers": (Reason.REPORT, 1),
    "negative": (Reason.REPORT, 1),
    "empty-numbers": (Reason.REPORT, 1),
    "huge-numbers": (Reason.REPORT, 1),
    "bad-date": (Reason.REPORT, 1),
    "one-bad-row": (OK, 1),
    "twice-unequal": (OK, 1),
    "awkward-name": (OK, 1),
    "nul-name": (OK, 1),
    "huge-cell": (Reason.REPORT, 1),
    "duplicate-keys": (Reason.REPORT, 1),
}
# What the token endpoint may do is retried without a call to Graph, for as long as the poll may take.
TOKEN_FAULTS: dict[str, Reason] = {
    "token-429": Reason.THROTTLED,
    "token-500": Reason.SERVER,
    "token-503-html": Reason.SERVER,
    "token-html": Reason.SERVER,
    "token-empty": Reason.SERVER,
    "token-no-token": Reason.SERVER,
}
JSON_FAULTS: dict[str, tuple[Reason | None, int]] = {
    "nextlink-loop": (Reason.REPORT, 1),
    "nextlink-host": (Reason.REDIRECT, 1),
    "surrogate-name": (Reason.REPORT, 1),
    "deep-json": (Reason.REPORT, 1),
    "duplicate-keys": (Reason.REPORT, 1),
    "nan": (Reason.REPORT, 1),
    "1e400": (Reason.REPORT, 1),
    "json-list": (Reason.REPORT, 1),
    "json-no-value": (Reason.REPORT, 1),
    "huge-cell": (Reason.REPORT, 1),
    "utf-16": (Reason.REPORT, 1),
    "two-boms": (OK, 1),
    "cut-body": (Reason.NETWORK, 50),
    "gzip-bomb": (Reason.REPORT, 1),
    "endless": (Reason.REPORT, 1),
}
CHANGED_LINE = {"mixed-dates", "awkward-name"}
MEMORY = 128 * 1024 * 1024  # the simulation's included
TIMED = {"slow", "hang", "drip", "drip-headers"}


class Harness:
    """A simulated Microsoft on loopback, and the poller that is pointed at it."""

    def __init__(self, server: SimulatorServer) -> None:
        self.server = server
        self.simulator = server.simulator
        self.cloud = Cloud("custom", server.cloud.login, server.cloud.graph, "v1.0", ())
        self.clients = Clients(tls=tls_context(server.ca_file))

    def tenant(self, *, timeout: str = "30s", version: str = "v1.0", form: str = "csv", report: str = USERS) -> Tenant:
        """Return the exporter's side of the one simulated tenant."""
        settings = Report.model_validate({"api_version": version, "format": form})
        known = simulated(
            self.simulator.tenants[0],
            cloud=self.cloud,
            report=settings,
            reports=(report,),
            download_hosts=(self.server.download_host,),
        )
        poll = known.poll.model_copy(update={"timeout": float(timeout.removesuffix("s"))})
        return replace(known, poll=poll)

    def poll(self, known: Tenant, *, standing: Standing | None = None) -> Outcome:
        """Poll once, without waiting between attempts."""
        clock = Clock(self.server.now())
        tokens = TokenSource(self.clients, Credentials(), clock=clock)
        poller = Poller(
            self.clients, tokens, Budget(clock), clock=clock, sleep=lambda _seconds: None, rng=random.Random(1)
        )
        return poller.poll(known, known.keys[0], standing or Standing())

    def poll_in_bounds(self, known: Tenant) -> Outcome:
        """Poll once; whatever the answer, time and memory (the simulation's too) stay bounded."""
        tracemalloc.start()
        began = time.monotonic()
        try:
            outcome = self.poll(known)
            assert time.monotonic() - began < known.poll.timeout + 20  # what a busy machine adds
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()
        return outcome

    def calls(self, stage: Stage = Stage.GRAPH) -> int:
        """Return how many calls came to a stage."""
        return self.simulator.count(self.simulator.tenants[0], stage)


@pytest.fixture
def harness() -> Iterator[Harness]:
    """Serve one simulated tenant."""
    with SimulatorServer(Simulator(seed=1, tenants=1)) as server:
        made = Harness(server)
        yield made
        made.clients.close()
        assert made.simulator.leaks == []


def test_every_fault_of_the_simulation_is_in_one_of_the_tables() -> None:
    """No fault that the simulation knows goes untested."""
    assert set(CSV_FAULTS) | set(TOKEN_FAULTS) | set(JSON_FAULTS) | {"nextlink"} == set(FAULTS)


@pytest.mark.parametrize("fault", CSV_FAULTS)
def test_a_poll_by_csv_that_meets_a_fault_ends_as_the_table_says(harness: Harness, fault: str) -> None:
    """Each fault ends in its reason with a hint, in bounded time, memory and number of calls, and leaks nothing."""
    reason, calls = CSV_FAULTS[fault]
    harness.simulator.inject(harness.simulator.tenants[0], fault, times=None)
    known = harness.tenant(timeout="1s" if fault in TIMED else "30s")
    outcome = harness.poll_in_bounds(known)
    assert (outcome.failure.reason if outcome.failure else None) == reason, outcome.failure
    assert harness.calls() == calls
    if outcome.failure is not None:
        assert outcome.failure.hint
        assert outcome.failure.message.startswith(f"{known.name}: ")
        assert outcome.snapshot is None
    else:
        assert outcome.snapshot is not None
        served = harness.simulator.served(known.name, USERS, outcome.snapshot.refresh_date)
        rows = {(row.product_type, row.counts) for row in outcome.snapshot.rows}
        # A fault may change one line's name or date; no number is ever one that was not served.
        assert len(rows - served) <= (fault in CHANGED_LINE)


@pytest.mark.parametrize("fault", TOKEN_FAULTS)
def test_a_token_endpoint_that_fails_ends_the_poll_in_its_reason(harness: Harness, fault: str) -> None:
    """What the token endpoint does wrong is told apart, and Graph is never asked."""
    harness.simulator.inject(harness.simulator.tenants[0], fault, times=None)
    outcome = harness.poll_in_bounds(harness.tenant(timeout="1s"))
    assert outcome.failure is not None
    assert outcome.failure.reason == TOKEN_FAULTS[fault]
    assert harness.calls() == 0


@pytest.mark.parametrize("fault", JSON_FAULTS)
def test_a_poll_by_json_that_meets_a_fault_ends_as_the_table_says(harness: Harness, fault: str) -> None:
    """The same for JSON of the beta version."""
    reason, calls = JSON_FAULTS[fault]
    harness.simulator.inject(harness.simulator.tenants[0], fault, times=None)
    outcome = harness.poll_in_bounds(harness.tenant(version="beta", form="json"))
    assert (outcome.failure.reason if outcome.failure else None) == reason, outcome.failure
    assert harness.calls() == calls


@pytest.mark.parametrize("fault", [name for name, (_, calls) in CSV_FAULTS.items() if calls == 7] + ["401-expired"])
def test_a_passing_fault_is_overcome_within_the_poll(harness: Harness, fault: str) -> None:
    """A transient fault costs one more call and no failed poll."""
    harness.simulator.inject(harness.simulator.tenants[0], fault, times=1)
    outcome = harness.poll(harness.tenant())
    assert outcome.failure is None
    assert harness.calls() == 2


@pytest.mark.parametrize("report", [USERS, PLATFORMS])
@pytest.mark.parametrize(("version", "form"), [("v1.0", "csv"), ("beta", "csv"), ("beta", "json")])
def test_a_good_poll_gives_exactly_what_was_served(harness: Harness, version: str, form: str, report: str) -> None:
    """Each report, by each version and format, gives the served rows and the request-id of the call."""
    known = harness.tenant(version=version, form=form, report=report)
    outcome = harness.poll(known)
    assert outcome.failure is None
    assert outcome.snapshot is not None
    snapshot = outcome.snapshot
    assert {(row.product_type, row.counts) for row in snapshot.rows} == harness.simulator.served(
        known.name, report, snapshot.refresh_date
    )
    assert len(snapshot.request_id) == 36
    assert outcome.rejected_rows == 0


def test_the_pages_of_a_report_are_read_as_one(harness: Harness) -> None:
    """A next page on the same Graph host is followed, and its rows belong to the report."""
    harness.simulator.inject(harness.simulator.tenants[0], "nextlink", times=1)
    known = harness.tenant(version="beta", form="json")
    outcome = harness.poll(known)
    assert outcome.snapshot is not None
    day = outcome.snapshot.refresh_date
    assert len(outcome.snapshot.rows) == len(harness.simulator.rows(known.name, USERS, day))
    assert harness.calls() == 2


@pytest.mark.parametrize("link", [5, True, ["https://graph.microsoft.com/x"], {"a": 1}, "/x"])
def test_a_next_page_that_cannot_be_read_is_no_end(harness: Harness, link: object) -> None:
    """A report whose next page has no usable address is refused, never published without that page."""

    def page(call: Call, _good: object) -> Response:
        whole = json.loads(call.data(call.lines()))
        return Response(200, (), json.dumps(whole | {"@odata.nextLink": link}).encode())

    harness.simulator.inject(harness.simulator.tenants[0], Fault("odd", Stage.GRAPH, "an odd next page", page))
    outcome = harness.poll(harness.tenant(version="beta", form="json"))
    assert outcome.snapshot is None
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.REDIRECT


def test_a_page_that_is_refused_has_its_own_request_id(harness: Harness) -> None:
    """The request-id of a failure is that of the page which caused it, not of a good one before it."""
    graph = harness.server.cloud.graph

    def page(call: Call, _good: object) -> Response:
        second = "second" in call.query
        link = "https://elsewhere.example/" if second else f"{graph}{call.path}?{urlencode(call.query)}&second=1"
        whole = json.loads(call.data(call.lines()))
        answer = json.dumps(whole | {"@odata.nextLink": link}).encode()
        return Response(200, (("request-id", "of the second" if second else "of the first"),), answer)

    harness.simulator.inject(harness.simulator.tenants[0], Fault("pages", Stage.GRAPH, "pages", page), times=None)
    failure = harness.poll(harness.tenant(version="beta", form="json")).failure
    assert failure is not None
    assert failure.reason is Reason.REDIRECT
    assert failure.request_id.endswith("of the second")


def test_each_page_is_a_call_of_the_budget(harness: Harness) -> None:
    """Pages are calls to Graph: each is taken from the budget before it is asked for."""
    clock = Clock(harness.server.now())
    tokens = TokenSource(harness.clients, Credentials(), clock=clock)
    budget = Budget(clock)
    poller = Poller(harness.clients, tokens, budget, clock=clock, sleep=lambda _seconds: None)
    known = harness.tenant(version="beta", form="json")
    key = known.keys[0]
    harness.simulator.inject(harness.simulator.tenants[0], "nextlink", times=1)
    assert poller.poll(known, known.keys[0], Standing()).failure is None
    assert budget.remaining(key, "json") == LIMITS["json"] - 2
    while budget.remaining(key, "json") > 1:
        budget.spend(key, "json")
    harness.simulator.inject(harness.simulator.tenants[0], "nextlink", times=1)
    before = harness.calls()
    outcome = poller.poll(known, known.keys[0], Standing())
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.THROTTLED
    assert outcome.not_before > outcome.at
    assert harness.calls() == before + 1


def test_a_report_dated_in_the_future_gives_way_to_the_next_good_one() -> None:
    """A held report more than two days ahead of the clock is replaced by an older good one; any other is not."""
    now = datetime.fromtimestamp(NOON, UTC).date()
    for days, gives_way in ((900, True), (3, True), (2, False), (0, False)):
        held = Standing().after(Outcome(NOON, 1, snapshot(("A", (9, 9, 9)), day=now + timedelta(days=days))))
        after = held.after(Outcome(NOON, 1, snapshot(("A", (1, 1, 1)), day=now - timedelta(days=1))))
        assert after.snapshot is not None
        assert (after.snapshot.rows[0].counts == (1, 1, 1)) is gives_way


def test_retry_after_moves_the_next_poll(harness: Harness) -> None:
    """A throttled poll says from when on Microsoft may be asked again."""
    harness.simulator.inject(harness.simulator.tenants[0], "429", times=1)
    outcome = harness.poll(harness.tenant())
    assert outcome.not_before == pytest.approx(outcome.at + 600, abs=5)


@pytest.mark.parametrize("fault", ["cut-body", "gzip-broken", "gzip-bomb"])
def test_a_download_that_breaks_has_graphs_request_id(harness: Harness, fault: str) -> None:
    """Whatever goes wrong with a download, the failure has the request-id of the Graph call that led to it."""
    harness.simulator.inject(harness.simulator.tenants[0], fault, times=None)
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert len(failure.request_id) == 36


def test_an_answer_of_graph_that_is_too_large_has_its_request_id(harness: Harness) -> None:
    """What Graph gave in place of a redirect is refused with the id that Microsoft's support asks for."""
    answer = Response(200, (), bytes(MAX_BODY + 1))
    large = Fault("large", Stage.GRAPH, "an endless report", lambda _call, _good: answer)
    harness.simulator.inject(harness.simulator.tenants[0], large)
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert (failure.reason, len(failure.request_id)) == (Reason.REPORT, 36)


def test_a_download_may_move_within_its_host(harness: Harness) -> None:
    """A relative Location of the download host is followed; one of Graph's is not."""

    def moved(call: Call, _good: object) -> Response:
        return Response(302, (("Location", f"?{urlencode(call.query)}"),))

    known = harness.simulator.tenants[0]
    harness.simulator.inject(known, Fault("moved", Stage.DOWNLOAD, "a relative Location", moved))
    assert harness.poll(harness.tenant()).failure is None
    assert harness.calls(Stage.DOWNLOAD) == 2
    harness.simulator.inject(known, Fault("moved", Stage.GRAPH, "a relative Location", moved))
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert failure.reason is Reason.REDIRECT


@pytest.mark.parametrize("host", ["[::1%25.office.com]", "[fe80::1%.office.com]", "127.0.0.1", "0x7f.0xa"])
def test_an_address_is_no_name_below_a_suffix(harness: Harness, host: str) -> None:
    """An address that happens to end like an allowed suffix, by its zone or its last number, is not followed."""
    away = Response(302, (("Location", f"https://{host}/data/download/x"),))
    address = Fault("address", Stage.GRAPH, "an address", lambda _call, _good: away)
    harness.simulator.inject(harness.simulator.tenants[0], address)
    failure = harness.poll(replace(harness.tenant(), download_hosts=(".office.com", ".1", ".0xa"))).failure
    assert failure is not None
    assert f"add the line  - {host}:443  under" in failure.hint


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        ("redirect-host", "add the line  - reports.office.com.example.net:443  under http.download_hosts"),
        ("redirect-userinfo", "a proxy or gateway may have changed what Microsoft answered"),
        ("redirect-garbage", "a proxy or gateway may have changed what Microsoft answered"),
        ("redirect-http", "a proxy or gateway may have changed what Microsoft answered"),
        ("download-redirect-loop", "a proxy or gateway may have changed what Microsoft answered"),
    ],
)
def test_only_a_host_that_can_be_allowed_is_a_line_to_add(harness: Harness, fault: str, hint: str) -> None:
    """The hint names http.download_hosts where a line there is the fix, and nowhere else."""
    harness.simulator.inject(harness.simulator.tenants[0], fault, times=None)
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert hint in failure.hint
    assert ("download_hosts" in failure.hint) == ("download_hosts" in hint)


def test_a_refusal_in_spite_of_consent_asks_for_none(harness: Harness) -> None:
    """Graph's 403 for a token that has the permission is no reason to grant it: the request-id is what helps."""
    harness.simulator.inject(harness.simulator.tenants[0], "403-empty")
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert failure.hint == (
        "the token has Reports.Read.All, so no consent is missing: "
        "if it persists, give the request-id to Microsoft's support"
    )


def test_a_page_is_not_quoted(harness: Harness) -> None:
    """A page in place of Graph's error is named as one, and nothing else is said of it."""
    answer = Response(400, (), b"<html>hush</html>")
    page = Fault("page", Stage.GRAPH, "a page", lambda _call, _good: answer)
    harness.simulator.inject(harness.simulator.tenants[0], page)
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert failure.message == "contoso: Graph answered 400, a page of HTML or XML"


def test_a_short_retry_after_is_waited_for(harness: Harness) -> None:
    """A wait that fits into the poll is waited, at least as long as asked, and the poll succeeds."""
    harness.simulator.inject(harness.simulator.tenants[0], "429-short", times=1)
    clock = Clock(harness.server.now())
    slept: list[float] = []
    tokens = TokenSource(harness.clients, Credentials(), clock=clock)
    poller = Poller(harness.clients, tokens, Budget(clock), clock=clock, sleep=slept.append, rng=random.Random(1))
    outcome = poller.poll(known := harness.tenant(), known.keys[0], Standing())
    assert outcome.failure is None
    assert slept
    assert slept[0] >= 1


def test_after_a_refusal_the_next_poll_takes_a_fresh_token(harness: Harness) -> None:
    """Consent granted between two polls is seen at the second, though the old token still stands in the cache."""
    tenants = harness.simulator.tenants
    harness.simulator.revoke_consent(tenants[0])
    clock = Clock(harness.server.now())
    tokens = TokenSource(harness.clients, Credentials(), clock=clock)
    poller = Poller(harness.clients, tokens, Budget(clock), clock=clock, sleep=lambda _seconds: None)
    known = harness.tenant()
    first = poller.poll(known, known.keys[0], Standing())
    assert first.failure is not None
    assert first.failure.reason is Reason.PERMISSION
    harness.simulator.grant_consent(tenants[0])
    assert poller.poll(known, known.keys[0], Standing().after(first)).failure is None


def test_a_host_that_refuses_is_a_network_failure_that_names_it() -> None:
    """Where nobody listens, the failure names the host and the way to look."""
    cloud = Cloud("custom", "https://localhost:1", "https://localhost:1", "v1.0", ())
    known = simulated(Simulator(tenants=1).tenants[0], cloud=cloud)
    clock = Clock(NOON)
    clients = Clients(proxy=Proxy())
    poller = Poller(
        clients,
        TokenSource(clients, Credentials(), clock=clock),
        Budget(clock),
        clock=clock,
        monotonic=clock,
        sleep=clock.sleep,
    )
    outcome = poller.poll(known, known.keys[0], Standing())
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.NETWORK
    assert "localhost:1" in outcome.failure.message
    # Retries went on, with growing pauses, until the poll's timeout.
    assert len(clock.slept) >= 3
    assert sum(clock.slept) < known.poll.timeout


def test_an_untrusted_certificate_names_the_setting_that_fixes_it(harness: Harness) -> None:
    """A host whose certificate nobody vouches for is a network failure whose hint is http.ca_file."""
    clock = Clock(harness.server.now())
    clients = Clients(tls=tls_context())
    poller = Poller(
        clients, TokenSource(clients, Credentials(), clock=clock), Budget(clock), clock=clock, sleep=clock.sleep
    )
    outcome = poller.poll(known := harness.tenant(timeout="1s"), known.keys[0], Standing())
    clients.close()
    assert outcome.failure is not None
    assert "http.ca_file" in outcome.failure.hint


def test_a_bug_in_the_exporter_costs_one_poll(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw becomes the reason `internal`, with its traceback in the log."""
    clock = Clock(NOON)
    poller = Poller(harness.clients, None, Budget(clock), clock=clock)  # type: ignore[arg-type]  # the fault
    with caplog.at_level(logging.ERROR):
        outcome = poller.poll(known := harness.tenant(), known.keys[0], Standing())
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.INTERNAL
    assert "AttributeError" in outcome.failure.message


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_graph_says_steers_no_terminal(harness: Harness, *, wrapped: bool) -> None:
    """Escape sequences and characters that turn text around in Graph's words and ids reach neither message nor log."""
    error = json.dumps({"error": {"code": "Bad\x1b[2J", "message": "re\u202ed\x9b31m \u2066x\x07\r\nlevel=error"}})
    body = json.dumps({"error": {"code": "UnknownError", "message": error}}) if wrapped else error
    answer = Response(400, (("request-id", "a\x9b[0m"),), body.encode())
    steering = Fault("steering", Stage.GRAPH, "control characters", lambda _call, _good: answer)
    harness.simulator.inject(harness.simulator.tenants[0], steering)
    failure = harness.poll(harness.tenant()).failure
    assert failure is not None
    assert f"{failure.message} {failure.hint} {failure.request_id}".isprintable()
    assert "Bad [2J: re d 31m x level=error" in failure.message


def test_the_budget_is_never_exceeded_by_retries() -> None:
    """In process, on a virtual clock, an outage of hours never draws more than seven calls in ten minutes."""
    clock = Clock(NOON)
    simulator = Simulator(tenants=1, scenario="outage")
    clients = Clients(transport=SimulatorTransport(simulator, clock, clock.sleep))
    known = simulated(simulator.tenants[0])
    made: list[float] = []
    budget = Budget(clock, record=lambda _key, at: made.append(at))
    poller = Poller(
        clients,
        TokenSource(clients, Credentials(), clock=clock),
        budget,
        clock=clock,
        monotonic=clock,
        sleep=clock.sleep,
        rng=random.Random(1),
    )
    standing = Standing()
    for _ in range(60):
        clock.now = max(clock.now + 60, budget.free_at(known.keys[0], "csv"))
        standing = standing.after(poller.poll(known, known.keys[0], standing))
    assert max(sum(at - 600 < other <= at for other in made) for at in made) <= 7
    assert isinstance(standing.last, Outcome)
    assert isinstance(standing.last.failure, Failure)


def test_documented_rows_arrive_as_they_stand_there(harness: Harness) -> None:
    """Microsoft's example row, in CSV and in JSON, is the snapshot's."""
    header = "Report Refresh Date,Product Type,Assigned,Activated,Shared Computer Activation"
    csv = f"{header}\r\n2017-09-01,Office 365 ProPlus,2679,1710,1024\r\n".encode()
    page = (
        b'{"value": [{"reportRefreshDate": "2017-09-01", "productType": "Office 365 ProPlus", '
        b'"assigned": 2679, "activated": 1710, "sharedComputerActivation": 1024}]}'
    )
    for body, version, form in ((csv, "v1.0", "csv"), (page, "beta", "json")):
        answer = Response(200, (), body)

        def documented(_call: object, _good: object, answer: Response = answer) -> Response:
            return answer

        harness.simulator.inject(
            harness.simulator.tenants[0], Fault("documented", Stage.REPORT, "the example", documented)
        )
        outcome = harness.poll(harness.tenant(version=version, form=form))
        assert outcome.snapshot is not None
        assert outcome.snapshot.rows == (Row("Office 365 ProPlus", (2679, 1710, 1024)),)
