"""The simulation as a server: real TLS on loopback, a port for each of Microsoft's hosts."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Self

from exporter.simulator.clouds import Origin, loopback_cloud, real_hosts
from exporter.simulator.connection import Connection, factory
from exporter.simulator.identity import APP_SERVICE_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from exporter.simulator.clouds import Cloud
    from exporter.simulator.core import Simulator
    from exporter.simulator.messages import Request, Response

_ADDRESS = "127.0.0.1"


class SimulatorServer:
    """Serves a simulation from a thread of its own, between `start()` and `stop()` or as a context manager.

    A request whose Host names one of Microsoft's real hosts (by a proxy, or a name server that points here) is
    answered as that host, whatever the cloud; with `real_names` the certificate holds for these names too.

    Args:
        simulator: who answers.
        cloud: which cloud the loopback addresses stand for.
        login_port: the port of the login host; 0: any that is free. So for the other ports.
        graph_port: Graph's.
        download_port: the download host's.
        identity_port: that of managed identities (plain HTTP, as at Microsoft).
        latency: seconds that every answer takes, without keeping the others waiting.
        clock: the time, Unix seconds.
        real_names: whether the certificate also names Microsoft's real hosts.

    Attributes:
        simulator: who answers.
        cloud: the addresses, once started.
        ca_file: the certificate authority (PEM) for clients to trust; it is gone after `stop()`.
        latency: may be changed at any time.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        cloud: str = "global",
        login_port: int = 0,
        graph_port: int = 0,
        download_port: int = 0,
        identity_port: int = 0,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        real_names: bool = False,
    ) -> None:
        self.simulator = simulator
        self.latency = latency
        self.connections: set[Connection] = set()
        self._cloud_name = cloud
        self._ports: Mapping[Origin, int] = {
            Origin.LOGIN: login_port,
            Origin.GRAPH: graph_port,
            Origin.DOWNLOAD: download_port,
            Origin.IDENTITY: identity_port,
        }
        self._clock = clock
        self._real_hosts = real_hosts()
        self._names = ("localhost", _ADDRESS, *(self._real_hosts if real_names else ()))

    def start(self) -> Self:
        """Open the ports and return once they answer.

        Raises:
            OSError: a port is taken.
        """
        # In a folder of its own, because ssl reads certificates from files only.
        self._folder = tempfile.TemporaryDirectory(prefix="simulator-")
        self.ca_file, context = _credentials(Path(self._folder.name), self._names)
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        opening = asyncio.run_coroutine_threadsafe(self._open(context), self._loop)
        try:
            opening.result()
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all connections, close the ports and remove the certificates."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        with warnings.catch_warnings():
            # A client that went away in the middle of its handshake is no resource of ours.
            warnings.simplefilter("ignore", ResourceWarning)
            self._loop.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def download_host(self) -> str:
        """The download host as `host:port`."""
        return self.cloud.download.removeprefix("https://")

    @property
    def identity_environment(self) -> dict[str, str]:
        """The variables by which Azure's libraries find the managed identity of App Service."""
        return {
            "IDENTITY_ENDPOINT": f"{self.cloud.identity}{APP_SERVICE_PATH}",
            "IDENTITY_HEADER": self.simulator.state.identity_header,
        }

    def now(self) -> float:
        """Return the server's time, Unix seconds."""
        return self._clock()

    def place(self, origin: Origin, host: str) -> tuple[Cloud, Origin]:
        """Return the cloud and the role in which a request for that host is answered."""
        return self._real_hosts.get(host.removesuffix(":443"), (self.cloud, origin))

    def answer(self, request: Request) -> Response:
        """Return the answer at this moment."""
        return self.simulator.answer(request, self.now())

    async def _open(self, context: ssl.SSLContext) -> None:
        addresses = {}
        for origin, port in self._ports.items():
            secure = None if origin is Origin.IDENTITY else context
            server = await self._loop.create_server(factory(self, origin), _ADDRESS, port, ssl=secure, backlog=1024)
            self._servers.append(server)
            scheme, name = ("https", "localhost") if secure else ("http", _ADDRESS)
            addresses[origin.value] = f"{scheme}://{name}:{server.sockets[0].getsockname()[1]}"
        self.cloud = loopback_cloud(self._cloud_name, **addresses)

    def stop_connections(self) -> None:
        """End all connections, as a network that fails; the ports stay open."""
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result()

    async def _drop(self) -> None:
        for connection in tuple(self.connections):
            connection.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._drop()
        # What is left: answers on their way, and asyncio's own handshakes.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _credentials(folder: Path, names: tuple[str, ...]) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a new certificate authority and a TLS context with a certificate of it."""
    from exporter.simulator.authority import issue  # noqa: PLC0415 - 60 ms of cryptography that only a start needs

    issued = issue(names)
    ca_file, pair = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(issued.authority)
    pair.touch(mode=0o600)
    pair.write_bytes(issued.key + issued.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pair)
    pair.unlink()
    return ca_file, context


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop: uvloop's where it is installed, for speed, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
