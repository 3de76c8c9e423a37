"""A simulation of Microsoft's login, Graph and download hosts, for `demo`, for tests and for whoever develops.

The core is `Simulator.answer()`, from request and time to response. Around it stand `SimulatorServer`, which serves it
over real TLS on loopback, and `SimulatorTransport`, which serves it to httpx in process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.simulator.apps import Federation
from exporter.simulator.assertions import federated_assertion
from exporter.simulator.clouds import CLOUDS, Cloud, Origin
from exporter.simulator.core import Simulator
from exporter.simulator.counts import Row
from exporter.simulator.devices import Decision, Plan
from exporter.simulator.faults import FAULTS, Fault
from exporter.simulator.messages import Request, Response, Stage, Wire
from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.state import CallRecord, State
from exporter.simulator.tenants import Tenant

if TYPE_CHECKING:
    from exporter.simulator.server import SimulatorServer
    from exporter.simulator.transport import SimulatorTransport

__all__ = [
    "CLOUDS",
    "FAULTS",
    "SCENARIOS",
    "CallRecord",
    "Cloud",
    "Decision",
    "Fault",
    "Federation",
    "Origin",
    "Plan",
    "Request",
    "Response",
    "Row",
    "Scenario",
    "Simulator",
    "SimulatorServer",
    "SimulatorTransport",
    "Stage",
    "State",
    "Tenant",
    "Wire",
    "federated_assertion",
]


def __getattr__(name: str) -> Any:
    """Import the server and the transport when they are first asked for: they need TLS and httpx, the core does not."""
    if name == "SimulatorServer":
        from exporter.simulator.server import SimulatorServer  # noqa: PLC0415 - see above

        return SimulatorServer
    if name == "SimulatorTransport":
        from exporter.simulator.transport import SimulatorTransport  # noqa: PLC0415 - see above

        return SimulatorTransport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
