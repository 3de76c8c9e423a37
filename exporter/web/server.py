"""The web server: listeners, connections, and the web configuration in force."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from typing import TYPE_CHECKING, Any

from exporter.log import get_logger
from exporter.web import listener
from exporter.web.connection import Connections
from exporter.web.limits import Limits
from exporter.web.listener import Listener
from exporter.web.site import Site
from exporter.web.worker import Worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from exporter.config import Web
    from exporter.web.site import Source
    from exporter.web.webconfig import WebConfigFile

log = get_logger(__name__)

_RESERVED_FILES = 512
"""File descriptors left for polls, storage and logs."""


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop that watches sockets: the ordinary one of Windows does not."""
    return asyncio.SelectorEventLoop() if sys.platform == "win32" else asyncio.new_event_loop()


async def serve(
    source: Source,
    web: Web,
    stop: asyncio.Event,
    *,
    started: Callable[[tuple[str, ...]], None] | None = None,
    limits: Limits | None = None,
    interval: float = 2.0,
) -> None:
    """Serve the endpoints until `stop` is set; return when every connection has ended, within `limits.stop` seconds.

    Args:
        source: what the endpoints tell of.
        web: the settings.
        stop: ends it; signals are the caller's.
        started: called with the addresses listened at once connections are accepted.
        limits: what clients may hold.
        interval: seconds between two checks of the web configuration and its certificates; a change counts after two.

    Raises:
        ConfigError: a flag, an address or the web configuration cannot be used.
    """
    server = Server(source, web, limits or Limits(), interval)
    try:
        addresses = await server.start()
        if started is not None:
            started(addresses)
        await stop.wait()
    finally:
        await server.stop()


class Server:
    """The web server; `serve` is how to run it.

    Args:
        source: what the endpoints tell of.
        web: the settings.
        limits: what clients may hold.
        interval: seconds between two checks of the web configuration.
    """

    def __init__(self, source: Source, web: Web, limits: Limits, interval: float) -> None:
        self._interval = interval
        self._web = web
        self._limits = limits
        self._site = Site(source, web, limits)
        self._connections = Connections(self._site.handle, limits, _room(limits.connections))
        self._sockets: list[socket.socket] = []
        self._worker = Worker("web-config", limit=1)
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> tuple[str, ...]:
        """Listen; return the addresses, with the ports that were given out for port 0.

        Raises:
            ConfigError: an address or the web configuration cannot be used.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_note)
        for written in self._web.listen_address:
            self._sockets.append(listener.bind(written))
        if self._web.config_file is None:
            _warn_if_open(self._web.listen_address)
        else:
            await self._follow(self._web.config_file)
        for sock in self._sockets:
            accepting = Listener(sock, self._connections, lambda: self._site.security)
            self._listeners.append(accepting)
            accepting.open()
        return tuple(listener.name(sock) for sock in self._sockets)

    async def stop(self) -> None:
        """Accept no more, let the responses under way end, and end everything else."""
        for task in self._tasks:
            task.cancel()
        for accepting in self._listeners:
            accepting.close()
        for sock in self._sockets:
            listener.unlink(sock)
            sock.close()
        await self._connections.stop()
        self._site.end()
        self._worker.end()

    async def _follow(self, path: Path) -> None:
        """Obey the web configuration file, now and whenever it changes."""
        from exporter.web.webconfig import WebConfigFile  # noqa: PLC0415 - its models only where there is such a file

        file = WebConfigFile(path)
        self._site.obey(await self._worker.do(file.load))
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep_up(file)))

    async def _keep_up(self, file: WebConfigFile) -> None:
        while True:
            await asyncio.sleep(self._interval)
            security = await self._worker.do(file.changed)
            if security is not None:
                self._site.obey(security)


def _room(wanted: int) -> int:
    """Return how many connections may be open, after asking the system for as many files as it gives."""
    try:
        import resource  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + _RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, soft - _RESERVED_FILES))


def _warn_if_open(addresses: tuple[str, ...]) -> None:
    reachable = [address for address in addresses if not listener.parse(address).is_loopback()]
    if reachable:
        log.warning(
            "the endpoint is open to everyone who can reach it: --web.config.file can ask for TLS and passwords",
            address=", ".join(reachable),
        )


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong on a connection; strangers' broken handshakes only where debugging is asked for."""
    error, message = context.get("exception"), context.get("message", "")
    if isinstance(error, OSError | ssl.SSLError):
        log.debug("a connection failed", error=str(error), message=message)
    else:
        log.error("an error on the event loop", message=message, exc_info=error)
