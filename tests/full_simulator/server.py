"""The simulation as a server for any cloud, under Microsoft's real names, with slow answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from exporter.simulator import server as shipped
from tests.full_simulator import slow
from tests.full_simulator.clouds import on_loopback, real_hosts
from tests.full_simulator.identity import APP_SERVICE_PATH

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from exporter.simulator.simulation import Cloud
    from tests.full_simulator.simulator import Simulator


class Handler(slow.Handler):
    """Answers under Microsoft's real names, too."""

    def place(self, name: str) -> tuple[Cloud, str]:
        """Return the cloud and its host that answer a request with that Host header."""
        server = cast("SimulatorServer", self.server.owner)
        return server.real_hosts.get(name.removesuffix(":443")) or super().place(name)


class SimulatorServer(shipped.SimulatorServer):
    """Serves a simulation as any cloud.

    A request whose Host names one of Microsoft's real hosts (by a proxy, or a name server that points here) is
    answered as that host, whatever the cloud; with `real_names` the certificate is valid for these names too.

    Args:
        simulator: which answers.
        cloud: which cloud the loopback addresses stand for.
        numbers: of the ports to listen on; any that is free where left out.
        latency: seconds that every answer takes, without delaying the others.
        clock: the time, Unix seconds.
        real_names: whether the certificate also names Microsoft's real hosts.

    Attributes:
        real_hosts: by name, the cloud and the role in which each is answered.
    """

    simulator: Simulator
    handler = Handler

    def __init__(
        self,
        simulator: Simulator,
        *,
        cloud: str = "global",
        numbers: Mapping[str, int] | None = None,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        real_names: bool = False,
    ) -> None:
        super().__init__(simulator, latency=latency, clock=clock)
        self._cloud_name = cloud
        self._numbers = numbers or {}
        self.real_hosts = real_hosts()
        if real_names:
            self.names = (*self.names, *self.real_hosts)

    def make_port(self, host: str, context: ssl.SSLContext | None) -> shipped.Port:
        """Return the port of one of the hosts; managed identities are plain HTTP, as at Microsoft."""
        return shipped.Port(self, host, self._numbers.get(host, 0), None if host == "identity" else context)

    @property
    def identity(self) -> str:
        """Where managed identities get their tokens."""
        return f"http://127.0.0.1:{self._number('identity')}"

    @property
    def identity_environment(self) -> dict[str, str]:
        """The variables by which Azure's libraries find the managed identity of App Service."""
        return {
            "IDENTITY_ENDPOINT": f"{self.identity}{APP_SERVICE_PATH}",
            "IDENTITY_HEADER": self.simulator.identity_header,
        }

    def _number(self, host: str) -> int:
        return next(port.server_port for port in self.ports if port.host == host)

    def route(self, target: str) -> tuple[str, int]:
        """Return host and port of the simulation for one of Microsoft's real names, as `host:443`."""
        return "127.0.0.1", self._number(self.real_hosts[target.removesuffix(":443")][1])

    def make_cloud(self) -> Cloud:
        """Return the cloud at these ports."""
        return on_loopback(super().make_cloud(), self._cloud_name)

    def stop_connections(self) -> None:
        """End all connections, as a network that fails; the ports stay open."""
        for port in self.ports:
            port.end_connections()
