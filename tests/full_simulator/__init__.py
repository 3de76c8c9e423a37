"""The shipped simulator with everything that only tests need, which tests use in its place.

Every kind of credential and cloud, all faults by name, real names, slow answers, a transport for httpx in process, and
a state that tests change and read.
"""

from __future__ import annotations

from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.state import Cloud, Response
from exporter.simulator.tenants import Tenant
from tests.full_simulator.assertions import Federation, federated_assertion, read_claims
from tests.full_simulator.clouds import CLOUDS, real_hosts
from tests.full_simulator.devices import Decision, Plan
from tests.full_simulator.faults import FAULTS, Fault, Stage
from tests.full_simulator.server import SimulatorServer
from tests.full_simulator.simulator import READERS, CallRecord, Simulator
from tests.full_simulator.transport import SimulatorTransport

__all__ = [
    "CLOUDS",
    "FAULTS",
    "READERS",
    "SCENARIOS",
    "CallRecord",
    "Cloud",
    "Decision",
    "Fault",
    "Federation",
    "Plan",
    "Response",
    "Simulator",
    "SimulatorServer",
    "SimulatorTransport",
    "Stage",
    "Tenant",
    "federated_assertion",
    "read_claims",
    "real_hosts",
]
