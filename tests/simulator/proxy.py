"""A proxy that leads clients of Microsoft's real addresses to the simulation."""

from __future__ import annotations

import base64
import selectors
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from exporter.simulator.clouds import real_hosts

if TYPE_CHECKING:
    from types import TracebackType

    from exporter.simulator import SimulatorServer


class Proxy:
    """An HTTP proxy on loopback, between `with` and its end, that knows CONNECT and nothing else.

    What is meant for a real host of any cloud goes to the server's port for that role; the server, started with
    `real_names=True`, answers as that host. All else is 502.

    Args:
        server: the simulation, started.
        credentials: `user:password` that clients must give; empty: none.

    Attributes:
        asked: the `host:port` of every CONNECT, in order.
    """

    def __init__(self, server: SimulatorServer, credentials: str = "") -> None:
        self.asked: list[str] = []
        self._credentials = credentials
        self._ports = {
            name: urlsplit(str(getattr(server.cloud, origin.value))).port for name, (_, origin) in real_hosts().items()
        }
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The proxy's address, credentials included."""
        at = f"{self._credentials}@" if self._credentials else ""
        return f"http://{at}127.0.0.1:{self._server.server_address[1]}"

    def admit(self, target: str, authorization: str) -> tuple[int, bytes]:
        """Return the port to lead `host:port` to and the answer to CONNECT; 0 for the port of those that go nowhere."""
        self.asked.append(target)
        if self._credentials and authorization != f"Basic {base64.b64encode(self._credentials.encode()).decode()}":
            return 0, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        port = self._ports.get(target.removesuffix(":443"))
        if port is None:
            return 0, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        return port, b"HTTP/1.1 200 Connection established\r\n\r\n"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    proxy: Proxy


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        lines = iter(lambda: self.rfile.readline().decode("latin-1").strip(), "")
        first, *headers = lines
        authorization = next((line[21:] for line in headers if line.lower().startswith("proxy-authorization: ")), "")
        port, answer = self.server.proxy.admit(first.split()[1], authorization)
        self.wfile.write(answer)
        if port:
            with socket.create_connection(("127.0.0.1", port)) as onward:
                _pump(self.connection, onward)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: socket.socket = key.fileobj  # type: ignore[assignment]  # sockets are all that is registered
                try:
                    data = source.recv(65536)
                    key.data.sendall(data)
                except OSError:
                    return
                if not data:
                    return
