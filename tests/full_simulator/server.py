"""The simulation as a server for any cloud, under Microsoft's real names, with slow answers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, cast

from exporter.simulator import server as shipped
from tests.full_simulator.clouds import on_loopback, real_hosts
from tests.full_simulator.identity import APP_SERVICE_PATH
from tests.full_simulator.slow import SlowResponse

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from exporter.simulator.state import Cloud, Response
    from tests.full_simulator.simulator import Simulator

_CHUNK = 65536


class Handler(shipped.Handler):
    """Answers under Microsoft's real names too, and after the server's latency; sends slow responses."""

    @property
    def owner(self) -> SimulatorServer:
        """The server that this connection is one of."""
        return cast("SimulatorServer", self.server.owner)

    def place(self, name: str) -> tuple[Cloud, str]:
        """Return the cloud and its host that answer a request with that Host header."""
        return self.owner.real_hosts.get(name.removesuffix(":443")) or super().place(name)

    def send(self, response: Response) -> None:
        """Send a response, for as long as the client listens and the server runs."""
        self._wait(self.owner.latency)
        if not isinstance(response, SlowResponse):
            super().send(response)
            return
        self._wait(response.delay)
        head = self.head(response, length=not response.endless)
        if response.endless:
            head = head.removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n"
        self._write(head, response.drip_headers)
        if not response.endless:
            self._write(response.body, response.drip)
            return
        body = response.body or b"\0"
        chunk = body * (1 + _CHUNK // len(body))
        while True:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def _write(self, data: bytes, pause: float) -> None:
        if not pause:
            self.wfile.write(data)
            return
        for byte in data:
            self.wfile.write(bytes((byte,)))
            self._wait(pause)

    def _wait(self, seconds: float) -> None:
        """Wait; end the connection where the server stops meanwhile."""
        if self.owner.stopping.wait(seconds):
            raise ConnectionAbortedError


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
        latency: may be changed at any time.
        real_hosts: by name, the cloud and the role in which each is answered.
        stopping: set once answers that take their time need not be sent any more.
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
        super().__init__(simulator, clock=clock)
        self.latency = latency
        self.stopping = threading.Event()
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
        return next(port.number for port in self.ports if port.host == host)

    def route(self, target: str) -> tuple[str, int]:
        """Return host and port of the simulation for one of Microsoft's real names, as `host:443`."""
        return "127.0.0.1", self._number(self.real_hosts[target.removesuffix(":443")][1])

    def make_cloud(self) -> Cloud:
        """Return the cloud at these ports."""
        return on_loopback(super().make_cloud(), self._cloud_name)

    def stop(self) -> None:
        """End answers that take their time, too."""
        self.stopping.set()
        super().stop()
