"""The simulation itself: from a request and the time to a response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.call import Call
from exporter.simulator.faults import FAULTS
from exporter.simulator.graph import answer_download, answer_graph
from exporter.simulator.login import answer_identity, answer_login, login_stage
from exporter.simulator.messages import Origin, Stage, json_response
from exporter.simulator.reports import REPORTS, refresh_date
from exporter.simulator.state import State
from exporter.simulator.tenants import draw, make_tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from exporter.simulator.call import Fault
    from exporter.simulator.messages import Request, Response
    from exporter.simulator.reports import Row
    from exporter.simulator.tenants import Tenant

_STAGES: Mapping[Origin, Stage] = {
    Origin.GRAPH: Stage.GRAPH,
    Origin.DOWNLOAD: Stage.DOWNLOAD,
    Origin.IDENTITY: Stage.TOKEN,
}


class Simulator:
    """Microsoft's login, Graph and download hosts, without any network.

    Args:
        seed: the same seed makes the same tenants, numbers and faults.
        tenants: how many there are.
        scenario: the name of the scenario that all of them start in.
        shared_app: whether they all know one app, as a provider's customers do, in place of one each.

    Attributes:
        tenants: who exists.
        state: what is known and counted.
        hosts: what answers for each of Microsoft's hosts.
    """

    hosts: Mapping[Origin, Callable[[Call], Response]] = {
        Origin.LOGIN: answer_login,
        Origin.GRAPH: answer_graph,
        Origin.DOWNLOAD: answer_download,
        Origin.IDENTITY: answer_identity,
    }

    def __init__(self, seed: int = 0, tenants: int = 3, scenario: str = "healthy", *, shared_app: bool = False) -> None:
        self.tenants = make_tenants(seed, tenants, shared_app=shared_app)
        self.state = self.make_state(seed, scenario)

    def make_state(self, seed: int, scenario: str) -> State:
        return State(seed, self.tenants, scenario)

    def answer(self, request: Request, now: float) -> Response:
        """Return what Microsoft would answer to `request` at `now` (Unix seconds)."""
        stage = self.stage(request)
        if stage is None:
            return json_response(404, {"error": "not_found"})
        call = Call(self.state, request, now, stage, self.choose_fault)
        response = self.hosts[request.origin](call)
        self.record(call, response)
        return response

    def stage(self, request: Request) -> Stage | None:
        return login_stage(request.path) if request.origin is Origin.LOGIN else _STAGES[request.origin]

    def choose_fault(self, call: Call, tenant: Tenant, data: bool) -> Fault | None:  # noqa: FBT001 - passed by position
        """Return what goes wrong with a call by its tenant's scenario.

        Args:
            call: about to be answered well.
            tenant: whose.
            data: whether the good answer carries the report's data.
        """
        seen = self.state.calls[tenant.tenant_id, call.report_name, call.stage]
        chance = draw(self.state.seed, tenant.name, call.report_name, call.stage, seen)
        name = self.state.scenario(tenant).fault(call.stage, chance, data=data)
        return FAULTS[name] if name else None

    def record(self, call: Call, _response: Response) -> None:
        """Count an answered call."""
        tenant_id = call.tenant.tenant_id if call.tenant else ""
        self.state.calls[tenant_id, call.report_name, call.stage] += 1

    def rows(self, tenant: Tenant | str, report: str, day: date) -> tuple[Row, ...]:
        """Return the rows of a tenant's report for any day; product types in title case, as in JSON.

        Raises:
            KeyError: there is no such tenant or report.
        """
        return self.state.rows(self.state.tenant(tenant), REPORTS[report], day)

    def refresh_date(self, now: float) -> date:
        """Return the date of the newest report at `now` (Unix seconds)."""
        return refresh_date(now)
