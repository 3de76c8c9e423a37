"""One call on its way through the simulation."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from exporter.simulator.counts import make_rows, refresh_date
from exporter.simulator.drawing import draw
from exporter.simulator.messages import Stage
from exporter.simulator.reports import render_csv, render_json
from exporter.simulator.tenants import make_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from exporter.simulator.counts import Row
    from exporter.simulator.faults import Fault
    from exporter.simulator.messages import Request, Response
    from exporter.simulator.reports import Line, Report
    from exporter.simulator.state import State
    from exporter.simulator.tenants import Tenant


@dataclass(slots=True)
class Call:
    """What is known about a request while it is being answered.

    Attributes:
        state: the state of the simulation.
        request: what was asked.
        now: when, Unix seconds.
        stage: the step it belongs to.
        tenant: whose it is, once that is known.
        report: which report it is about, once that is known.
        fault: the name of the fault it ended in, if any.
        json: whether the report was asked for as JSON.
        number: the call's own number, from 1.
    """

    state: State
    request: Request
    now: float
    stage: Stage
    tenant: Tenant | None = None
    report: Report | None = None
    fault: str = ""
    json: bool = False
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.number = self.state.next_number()

    @property
    def name(self) -> str:
        """The report's name, or an empty string."""
        return self.report.name if self.report else ""

    @property
    def moment(self) -> datetime:
        """Now, in UTC."""
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def request_id(self) -> str:
        """The id that Microsoft's support would ask for."""
        return make_uuid(self.state.seed, "request", self.number)

    def form(self) -> dict[str, str]:
        """Return the fields of a form in the body."""
        return dict(parse_qsl(self.request.body.decode("utf-8", "replace"), keep_blank_values=True))

    def basic_auth(self) -> tuple[str, str] | None:
        """Return user and password of HTTP basic authentication, if there is one."""
        scheme, _, value = self.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        user, _, password = base64.b64decode(value).decode().partition(":")
        return user, password

    def may_fail(self, good: Callable[[], Response], *, data: bool = False) -> Response:
        """Return `good()`, or what an injected fault or the tenant's scenario makes of it.

        Args:
            good: the answer when nothing is wrong.
            data: whether that answer carries the report's data.
        """
        fault = self._due_fault(data=data)
        if fault is None:
            return good()
        self.fault = fault.name
        return fault.answer(self, good)

    def subject(self) -> tuple[Tenant, Report]:
        """Return whose and which report the call is about; LookupError where that is not known (yet)."""
        if self.tenant is None or self.report is None:
            raise LookupError("this call is about no report")
        return self.tenant, self.report

    def lines(self, day: date | None = None) -> list[Line]:
        """Return the true lines of the report for `day` (the newest if left out), and note them as served."""
        (tenant, report), day = self.subject(), day or self.day()
        rows = true_rows(self.state, tenant, report, day)
        if not self.json:
            rows = tuple(replace(row, product_type=row.product_type.upper()) for row in rows)
        self.state.record_served(tenant, report.name, day, rows)
        return [(day.isoformat(), row.product_type, *row.counts) for row in rows]

    def data(self, lines: Iterable[Line], *, next_link: str = "") -> bytes:
        """Return `lines` as the body of the report, in the format that was asked for."""
        _, report = self.subject()
        if not self.json:
            return render_csv(report, lines)
        return render_json(report, lines, f"{self.request.cloud.graph}/beta/$metadata#{report.function}", next_link)

    def day(self) -> date:
        """Return the date of the newest report."""
        return refresh_date(self.now)

    def _due_fault(self, *, data: bool) -> Fault | None:
        if self.tenant is None:
            return None
        stages = (self.stage, Stage.REPORT) if data else (self.stage,)
        injected = self.state.take_fault(self.tenant, stages)
        if injected is not None:
            return injected
        seen = self.state.calls[self.tenant.tenant_id, self.name, self.stage]
        chance = draw(self.state.seed, self.tenant.name, self.name, self.stage, seen)
        name = self.state.scenario(self.tenant).fault(self.stage, chance, data=data)
        return self.state.faults[name] if name else None


def true_rows(state: State, tenant: Tenant, report: Report, day: date) -> tuple[Row, ...]:
    """Return what the tenant's report says for `day` by its scenario and Microsoft's corrections so far."""
    rows = make_rows(state.seed, tenant.name, report, day, low=state.scenario(tenant).low)
    revision = state.revision(tenant)
    if not revision:
        return rows
    return tuple(replace(row, counts=(row.counts[0] + revision, *row.counts[1:])) for row in rows)
