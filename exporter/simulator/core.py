"""The simulation itself: from a request and the time to a response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.call import Call, true_rows
from exporter.simulator.clouds import Origin
from exporter.simulator.counts import refresh_date
from exporter.simulator.download import answer_download
from exporter.simulator.faults import FAULTS
from exporter.simulator.graph import answer_graph
from exporter.simulator.identity import answer_identity
from exporter.simulator.login import answer_login, login_stage
from exporter.simulator.messages import Response, Stage, json_response
from exporter.simulator.reports import REPORTS
from exporter.simulator.state import CallRecord, State
from exporter.simulator.tenants import make_tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from exporter.simulator.counts import Row
    from exporter.simulator.messages import Request
    from exporter.simulator.tenants import Tenant

_ANSWERS: Mapping[Origin, Callable[[Call], Response]] = {
    Origin.LOGIN: answer_login,
    Origin.GRAPH: answer_graph,
    Origin.DOWNLOAD: answer_download,
    Origin.IDENTITY: answer_identity,
}
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
        state: the state, with the handles to change it.
    """

    def __init__(self, seed: int = 0, tenants: int = 3, scenario: str = "healthy", *, shared_app: bool = False) -> None:
        self.tenants = make_tenants(seed, tenants, shared_app=shared_app)
        self.state = State(seed, self.tenants, scenario, FAULTS)

    def answer(self, request: Request, now: float) -> Response:
        """Return what Microsoft would answer to `request` at `now` (Unix seconds)."""
        stage = login_stage(request.path) if request.origin is Origin.LOGIN else _STAGES[request.origin]
        if stage is None:
            return json_response(404, {"error": "not_found"})
        call = Call(self.state, request, now, stage)
        response = _ANSWERS[request.origin](call)
        name, tenant_id = (call.tenant.name, call.tenant.tenant_id) if call.tenant else ("", "")
        self.state.record_call(CallRecord(now, name, call.name, stage, response.status, call.fault), tenant_id)
        return response

    def rows(self, tenant: Tenant | str, report: str, day: date) -> tuple[Row, ...]:
        """Return the rows of a tenant's report for any day; product types in title case, as in JSON.

        Raises:
            KeyError: there is no such tenant or report.
        """
        return true_rows(self.state, self.state.tenant(tenant), REPORTS[report], day)

    def refresh_date(self, now: float) -> date:
        """Return the date of the newest report at `now` (Unix seconds)."""
        return refresh_date(now)
