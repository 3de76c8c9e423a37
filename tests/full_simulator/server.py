"""The simulation as a server for any cloud, under Microsoft's real names, with slow answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exporter.simulator import server as shipped
from tests.full_simulator.clouds import on_loopback, real_hosts
from tests.full_simulator.identity import APP_SERVICE_PATH
from tests.full_simulator.slow import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.messages import Cloud, Origin
    from tests.full_simulator.simulator import Simulator


class SimulatorServer(shipped.SimulatorServer):
    """Serves a simulation as any cloud.

    A request whose Host names one of Microsoft's real hosts (by a proxy, or a name server that points here) is
    answered as that host, whatever the cloud; with `real_names` the certificate is valid for these names too.

    Args:
        simulator: which answers.
        cloud: which cloud the loopback addresses stand for.
        ports: what to listen on; any that is free where left out.
        latency: seconds that every answer takes, without delaying the others.
        clock: the time, Unix seconds.
        real_names: whether the certificate also names Microsoft's real hosts.

    Attributes:
        real_hosts: by name, the cloud and the role in which each is answered.
    """

    simulator: Simulator
    connection_type = Connection

    def __init__(
        self,
        simulator: Simulator,
        *,
        cloud: str = "global",
        ports: Mapping[Origin, int] | None = None,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        real_names: bool = False,
    ) -> None:
        super().__init__(simulator, latency=latency, clock=clock)
        self._cloud_name = cloud
        self.ports = ports or {}
        self.real_hosts = dict(real_hosts())
        if real_names:
            self.names = (*self.names, *self.real_hosts)

    @property
    def identity_environment(self) -> dict[str, str]:
        """The variables by which Azure's libraries find the managed identity of App Service."""
        return {
            "IDENTITY_ENDPOINT": f"{self.cloud.identity}{APP_SERVICE_PATH}",
            "IDENTITY_HEADER": self.simulator.state.identity_header,
        }

    def route(self, target: str) -> tuple[str, int]:
        """Return host and port of the simulation for one of Microsoft's real names, as `host:443`."""
        _cloud, origin = self.real_hosts[target.removesuffix(":443")]
        return "127.0.0.1", urlsplit(str(getattr(self.cloud, origin.value))).port or 0

    def host(self, origin: Origin, name: str) -> tuple[Cloud, Origin]:
        """Return the cloud and the host that answer a request to the port of `origin` with that Host header."""
        return self.real_hosts.get(name.removesuffix(":443"), (self.cloud, origin))

    def make_cloud(self, addresses: Mapping[Origin, str]) -> Cloud:
        """Return the cloud at these addresses."""
        return on_loopback(super().make_cloud(addresses), self._cloud_name)

    def stop_connections(self) -> None:
        """End all connections, as a network that fails; the ports stay open."""
        for connection in tuple(self.connections):
            self._loop.call_soon_threadsafe(connection.transport.abort)
