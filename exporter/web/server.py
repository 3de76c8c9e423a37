"""The web server: its listening sockets, their connections, and the web configuration in force."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

from exporter.log import get_logger
from exporter.web import listen_address
from exporter.web.connection import Connection
from exporter.web.limits import Limits, Shares
from exporter.web.site import Site
from exporter.web.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Web
    from exporter.web.site import Source
    from exporter.web.webconfig import WebConfigFile

log = get_logger(__name__)

_RESERVED_FILES = 512
"""File descriptors left for polls, storage and logs."""

_AT_ONCE = 64
"""Connections accepted before other events have their turn."""

_PAUSE = 0.01
"""Seconds to wait when no connection can be accepted."""

_SILENCE = 60.0
"""Seconds between two lines in the log about it."""


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop that watches sockets, which the default one of Windows does not."""
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
        source: what the endpoints show and do.
        web: the settings.
        stop: ends the server; signals are the caller's.
        started: called once connections are accepted, with the addresses and the ports that were chosen for port 0.
        limits: what clients may hold.
        interval: seconds between two checks of the web configuration and its certificates; a change must be seen twice.

    Raises:
        ConfigError: a flag, an address or the web configuration cannot be used.
    """
    limits = limits or Limits()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_error)
    async with contextlib.AsyncExitStack() as stack:
        worker = Worker("web-config", limit=1)
        stack.callback(worker.end)
        site = Site(source, web, limits)
        stack.callback(site.end)
        connections = Connections(site, limits, _room(limits.connections))
        stack.push_async_callback(connections.stop)
        sockets = []
        for written in web.listen_address:
            sockets.append(listen_address.bind(written))
            stack.callback(listen_address.close, sockets[-1])
        if web.config.file is None:
            _warn_if_open(web.listen_address)
        else:
            from exporter.web.webconfig import WebConfigFile  # noqa: PLC0415 - models that most starts do without

            file = WebConfigFile(web.config.file)
            site.apply(await worker.do(file.load))
            following = loop.create_task(_follow(file, site, worker, interval))
            stack.callback(following.cancel)
        for sock in sockets:
            listener = Listener(sock, connections)
            listener.open()
            stack.callback(listener.close)
        if started is not None:
            started(tuple(listen_address.name(sock) for sock in sockets))
        await stop.wait()


async def _follow(file: WebConfigFile, site: Site, worker: Worker, interval: float) -> None:
    """Apply the web configuration whenever it changes."""
    while True:
        await asyncio.sleep(interval)
        security = await worker.do(file.changed)
        if security is not None:
            site.apply(security)


class Listener:
    """Accepts the connections of one listening socket.

    The event loop's servers keep one TLS context for ever, and report a connection only after its handshake. Here a
    connection counts from the moment it is accepted, and new certificates need no new socket.

    Args:
        sock: is listening.
        connections: takes the accepted ones.
    """

    def __init__(self, sock: socket.socket, connections: Connections) -> None:
        self._sock = sock
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._silent_until = 0.0
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            # Accepted connections inherit both: without them, the kernel holds megabytes for a client that does not
            # read, or that sends without end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, connections.limits.unsent)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, connections.limits.unread)

    def open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        if self._pause is not None:
            self._pause.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                # None is waiting, or the client left before it was accepted.
                return
            except OSError as error:
                self._wait(error)
                return
            sock.settimeout(0)
            is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
            if is_tcp:
                # asyncio does this only for sockets that it has created.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.accept(sock, str(address[0]) if is_tcp else "")

    def _wait(self, error: OSError) -> None:
        """Pause because no connection can be accepted, for example because too many files are open."""
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            log.warning("connections cannot be accepted at the moment", error=error.strerror)
        self._connections.make_room()
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(_PAUSE, self.open)


class Connections:
    """The open connections.

    Attributes:
        site: answers their requests.
        limits: what each may hold.
        draining: no connection is accepted any more, and each ends after its current response.
    """

    def __init__(self, site: Site, limits: Limits, room: int) -> None:
        self.site = site
        self.limits = limits
        self.draining = False
        self._room = room
        self._open: set[Connection] = set()
        self._idle: Shares[Connection] = Shares()

    def accept(self, sock: socket.socket, address: str) -> None:
        """Serve a new connection, in place of an idle one if there are too many; or close it."""
        if self.draining or (len(self._open) >= self._room and not self.make_room()):
            sock.close()
            return
        connection = Connection(self, sock, address)
        self._open.add(connection)
        self.note_idle(connection)

    def make_room(self) -> bool:
        """End the longest idle connection of the client with the most idle ones; return whether there was one."""
        largest = self._idle.largest()
        if largest is None:
            return False
        _, connection, _ = largest
        self.forget(connection)
        connection.cut()
        return True

    def note_idle(self, connection: Connection) -> None:
        if connection in self._open:
            self._idle.add(connection.client.key, connection, asyncio.get_running_loop().time())

    def note_busy(self, connection: Connection) -> None:
        self._idle.discard(connection.client.key, connection)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.note_busy(connection)

    async def stop(self) -> None:
        """End the idle connections now, and the others when they have answered or after `limits.stop` seconds."""
        self.draining = True
        while self.make_room():
            pass
        tasks = [connection.task for connection in self._open]
        if tasks:
            await asyncio.wait(tasks, timeout=self.limits.stop)
        for connection in list(self._open):
            connection.cut()
        # The transports need one round of the loop to close.
        await asyncio.sleep(0)


def _room(wanted: int) -> int:
    """Return how many connections may be open, after raising the limit of open files as far as the system allows."""
    try:
        import resource  # noqa: PLC0415 - not on every platform
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
    reachable = [address for address in addresses if not listen_address.parse(address).is_loopback()]
    if reachable:
        log.warning(
            "the endpoint is open to everyone who can reach it: --web.config.file can require TLS and passwords",
            address=", ".join(reachable),
        )


def _log_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error outside of any request; a broken connection only at debug."""
    error, message = context.get("exception"), context.get("message", "")
    if isinstance(error, OSError | ssl.SSLError):
        log.debug("a connection failed", error=str(error), message=message)
    else:
        log.error("an error on the event loop", message=message, exc_info=error)
