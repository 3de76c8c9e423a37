"""A simulation of Microsoft's login, Graph and download hosts, for `demo` and for developers.

`Simulator.answer()` makes a response from a request and the time; `SimulatorServer` serves it over TLS on loopback.
"""

from __future__ import annotations

from exporter.simulator.server import SimulatorServer
from exporter.simulator.simulator import Simulator
from exporter.simulator.state import SCENARIOS
from exporter.simulator.tenants import Tenant

__all__ = ["SCENARIOS", "Simulator", "SimulatorServer", "Tenant"]
