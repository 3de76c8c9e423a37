"""The shipped simulator with everything that only tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator import simulator as shipped
from exporter.simulator.graph import SECRET_HEADERS
from exporter.simulator.messages import Origin, Stage
from tests.full_simulator.graph import answer_graph
from tests.full_simulator.identity import answer_identity
from tests.full_simulator.login import answer_login, login_stage
from tests.full_simulator.state import CallRecord, State

if TYPE_CHECKING:
    from exporter.simulator.call import Call, Fault
    from exporter.simulator.messages import Request, Response
    from exporter.simulator.tenants import Tenant


class Simulator(shipped.Simulator):
    """Microsoft's hosts with every kind of credential, injected faults, and a state that tests change and read."""

    state: State
    hosts = dict(shipped.Simulator.hosts) | {
        Origin.LOGIN: answer_login,
        Origin.GRAPH: answer_graph,
        Origin.IDENTITY: answer_identity,
    }

    def make_state(self, seed: int, scenario: str) -> State:
        """Return the state to start with."""
        return State(seed, self.tenants, scenario)

    def answer(self, request: Request, now: float) -> Response:
        """Return what Microsoft would answer to `request` at `now` (Unix seconds), from any thread."""
        with self.state.lock:
            return super().answer(request, now)

    def stage(self, request: Request) -> Stage | None:
        """Return the step that a request stands for, or None."""
        return login_stage(request.path) if request.origin is Origin.LOGIN else super().stage(request)

    def choose_fault(self, call: Call, tenant: Tenant, data: bool) -> Fault | None:  # noqa: FBT001 - as shipped
        """Return the injected fault that is due, or what goes wrong by the tenant's scenario."""
        stages = (call.stage, Stage.REPORT) if data else (call.stage,)
        return self.state.take_fault(tenant, stages) or super().choose_fault(call, tenant, data)

    def record(self, call: Call, response: Response) -> None:
        """Count and log an answered call, and remember secrets that were sent to the download host."""
        super().record(call, response)
        name = call.tenant.name if call.tenant else ""
        self.state.log.append(CallRecord(call.now, name, call.report_name, call.stage, response.status, call.fault))
        if call.stage is Stage.DOWNLOAD and call.tenant:
            sent = ", ".join(name for name in SECRET_HEADERS if name in call.request.headers)
            if sent:
                leak = f"{call.report_name} of {call.tenant.tenant_id}: {sent} sent to the download host"
                self.state.leaks.append(leak)
