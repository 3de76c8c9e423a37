"""What the simulation knows and counts, and the calls that are answered by it."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from exporter.simulator.reports import REPORTS, make_rows, refresh_date, render_csv, render_json
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.tenants import draw, make_tenants, make_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import date

    from exporter.simulator.reports import Line, Report, Row
    from exporter.simulator.scenarios import Scenario
    from exporter.simulator.tenants import Tenant

    # What goes wrong, given the call and what would have been the good answer to it.
    Fault: TypeAlias = Callable[["Call", Callable[[], "Response"]], "Response"]

PERMISSION = "Reports.Read.All"
_WINDOW = 600.0
# https://learn.microsoft.com/graph/throttling-limits#microsoft-365-reports-service-limits
_CSV_PER_APP, _JSON_PER_APP = 14, 100


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud's addresses, without a slash at the end.

    Attributes:
        login: where tokens come from.
        graph: Graph's address, also the audience its tokens must have.
        download: where the preauthenticated URLs point.
        resources: what a scope may name at this login, and the audience its token then has.
        versions: the versions of Graph that have the activation reports.
    """

    login: str
    graph: str
    download: str
    resources: Mapping[str, str]
    versions: tuple[str, ...] = ("v1.0", "beta")


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; its length is added where it is sent.

    Attributes:
        status: the code.
        headers: in the order in which they are sent.
        body: as it is sent.
        cut: the connection ends after this many bytes of the body; -1: before the status line. None: it does not.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut: int | None = None


def json_response(status: int, document: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json; charset=utf-8"), *headers), body)


@dataclass(slots=True)
class Call:
    """One HTTP request, and what becomes known about it while it is answered.

    Attributes:
        simulation: what answers.
        cloud: the addresses under which it was sent, used for every address in the answer.
        host: which of the cloud's hosts is called: `login`, `graph` or `download`.
        method: in upper case.
        path: percent-decoded, without query.
        query: percent-decoded; the last value of each name.
        headers: names in lower case; the last value of each name.
        body: as sent.
        now: when it is answered, Unix seconds.
        number: its own, from 1.
        stage: the step of a poll it belongs to: `discovery`, `token`, `graph` or `download`.
        tenant: whose it is.
        report: which report it is about.
        json: whether the report was requested as JSON.
        fault: the name of the fault it ended in, if any.
    """

    simulation: Simulation
    cloud: Cloud
    host: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now: float
    number: int = 0
    stage: str = ""
    tenant: Tenant | None = None
    report: Report | None = None
    json: bool = False
    fault: str = ""

    @property
    def moment(self) -> datetime:
        """Now, in UTC."""
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def day(self) -> date:
        """The date of the newest report."""
        return refresh_date(self.now)

    @property
    def request_id(self) -> str:
        """The id that Microsoft's support would ask for."""
        return make_uuid(self.simulation.seed, "request", self.number)

    def may_fail(self, good: Callable[[], Response], *, data: bool = False) -> Response:
        """Return `good()`, or what goes wrong in its place; `data`: whether it would carry the report's data."""
        name, fault = self.simulation.choose_fault(self, data=data)
        self.fault = name
        return fault(self, good) if fault else good()

    def lines(self, day: date | None = None) -> list[Line]:
        """Return the true lines of the report for `day`, the newest if left out."""
        tenant, report = self._subject()
        return self.simulation.lines(tenant, report, day or self.day, json=self.json)

    def data(self, lines: Iterable[Line]) -> bytes:
        """Return `lines` as the body of the report, in the format requested."""
        _, report = self._subject()
        if not self.json:
            return render_csv(report, lines)
        return render_json(report, lines, f"{self.cloud.graph}/beta/$metadata#{report.function}")

    def _subject(self) -> tuple[Tenant, Report]:
        if self.tenant is None or self.report is None:
            raise LookupError("this call is about no report")
        return self.tenant, self.report


class Simulation:
    """Who exists, what they are in, and what is counted about them.

    Args:
        seed: the same seed makes the same tenants, numbers and faults.
        tenants: how many there are.
        scenario: the name of the scenario that all of them are in.
        shared_app: whether they all know one app, as a provider's customers do, in place of one each.

    Attributes:
        seed: where every secret and number comes from.
        tenants: who exists.
        hosts: what answers for each of Microsoft's hosts.
        faults: what may go wrong, by the names in the scenarios.
    """

    hosts: Mapping[str, Callable[[Call], Response]] = MappingProxyType({})
    faults: Mapping[str, Fault] = MappingProxyType({})

    def __init__(self, seed: int = 0, tenants: int = 3, scenario: str = "healthy", *, shared_app: bool = False) -> None:
        self.seed = seed
        self.tenants = make_tenants(seed, tenants, shared_app=shared_app)
        self._scenario = SCENARIOS[scenario]
        self._names = {
            name: tenant for tenant in self.tenants for name in (tenant.name, tenant.tenant_id, tenant.domain)
        }
        self.lock = threading.RLock()
        self._number = 0
        self._drawn: Counter[tuple[str, str, str]] = Counter()
        self._windows: dict[tuple[str, ...], list[float]] = {}

    def answer(self, call: Call) -> Response:
        """Return what Microsoft would answer, from any thread."""
        with self.lock:
            self._number += 1
            call.number = self._number
            return self.hosts[call.host](call)

    def find(self, name: str) -> Tenant | None:
        """Return the tenant of that name, id or domain (any case), or None."""
        return self._names.get(name.lower())

    def scenario(self, _tenant: Tenant) -> Scenario:
        return self._scenario

    def choose_fault(self, call: Call, *, data: bool) -> tuple[str, Fault | None]:
        """Return the name of what goes wrong with a call, and it; `data`: whether its good answer carries the report.

        It depends on nothing but the seed and how many such calls the tenant has made.
        """
        if call.tenant is None:
            return "", None
        step = (call.tenant.name, call.report.name if call.report else "", call.stage)
        chance = draw(self.seed, *step, self._drawn[step])
        self._drawn[step] += 1
        name = self.scenario(call.tenant).fault(call.stage, chance, data=data)
        return name, self.faults.get(name)

    # What a credential and a token are worth

    def secrets(self, tenant: Tenant, client_id: str) -> Collection[str] | None:
        """Return the secrets of an app; None where the tenant does not know it."""
        return (tenant.secret,) if client_id == tenant.client_id else None

    def token_error(self, claims: Mapping[str, Any], now: float) -> str:
        """Return why an access token is not valid, or an empty string."""
        return "Lifetime validation failed, the token is expired." if claims["exp"] <= now else ""

    def permission_error(self, claims: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return code and message of the refusal where an access token may not read reports."""
        return None if PERMISSION in claims.get("roles", ()) else ("S2SUnauthorized", "Invalid permission(s).")

    def admit(self, claims: Mapping[str, Any], report: str, *, json: bool, now: float) -> int:
        """Count a call of Graph; return 0, or the seconds to wait where it is over Microsoft's limits."""
        limit = _JSON_PER_APP if json else _CSV_PER_APP
        return self._wait((f"{json=}", claims["tid"], claims["appid"], report), limit, now)

    def _wait(self, key: tuple[str, ...], limit: int, now: float) -> int:
        # As many calls as the limit are kept, refused ones among them: the oldest says when the next one is admitted.
        calls = self._windows.setdefault(key, [])
        refused = len(calls) == limit and calls[0] > now - _WINDOW
        calls.append(now)
        del calls[:-limit]
        return max(1, math.ceil(calls[0] + _WINDOW - now)) if refused else 0

    # What reports say

    def rows(self, tenant: Tenant, report: str, day: date) -> tuple[Row, ...]:
        """Return the rows of a tenant's report for any day; product types in title case, as in JSON."""
        return make_rows(self.seed, tenant.name, REPORTS[report], day, low=self.scenario(tenant).low)

    def lines(self, tenant: Tenant, report: Report, day: date, *, json: bool) -> list[Line]:
        """Return the lines for `day` as they go out: product types in title case in JSON, in upper case in CSV."""
        rows = self.rows(tenant, report.name, day)
        return [(day.isoformat(), row.product_type if json else row.product_type.upper(), *row.counts) for row in rows]
