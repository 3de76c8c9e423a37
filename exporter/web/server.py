"""The web server: its listening sockets, their connections, and the web configuration in force."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.config.errors import config_error
from exporter.config.types import split_host
from exporter.log import get_logger
from exporter.web.connection import Connections
from exporter.web.limits import Limits
from exporter.web.site import Site
from exporter.web.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Web
    from exporter.web.site import Source
    from exporter.web.webconfig import WebConfigFile

log = get_logger(__name__)

_BACKLOG = 1024
_UNPRIVILEGED = 1024
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

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
        site = Site(source, web)
        stack.callback(site.end)
        connections = Connections(site, limits, _room(limits.connections))
        stack.push_async_callback(connections.stop)
        listeners = []
        for written in web.listen_address:
            listeners.append(Listener(written, connections))
            stack.callback(listeners[-1].close)
        if web.config.file is None:
            if reachable := [written for written in web.listen_address if not is_loopback(written)]:
                message = (
                    "the endpoint is open to everyone who can reach it: --web.config.file can require TLS and passwords"
                )
                log.warning(message, address=", ".join(reachable))
        else:
            from exporter.web.webconfig import WebConfigFile  # noqa: PLC0415 - models that most starts do without

            worker = Worker("web-config", limit=1)
            stack.callback(worker.end)
            file = WebConfigFile(web.config.file)
            site.apply(await worker.do(file.load))
            following = loop.create_task(_follow(file, site, worker, interval))
            stack.callback(following.cancel)
        for listener in listeners:
            listener.open()
        if started is not None:
            started(tuple(listener.address for listener in listeners))
        await stop.wait()


async def _follow(file: WebConfigFile, site: Site, worker: Worker, interval: float) -> None:
    """Apply the web configuration whenever it changes."""
    while True:
        await asyncio.sleep(interval)
        security = await worker.do(file.changed)
        if security is not None:
            site.apply(security)


class Listener:
    """Listens at one address, and accepts its connections.

    The event loop's servers keep one TLS context for ever, and report a connection only after its handshake. Here a
    connection counts from the moment it is accepted, and new certificates need no new socket.
    Not by `sock_accept`: what it has accepted when its task is cancelled is never closed.

    Args:
        written: the address, as the flag writes it.
        connections: takes the accepted ones.

    Raises:
        ConfigError: it cannot be bound.
    """

    def __init__(self, written: str, connections: Connections) -> None:
        self._sock = bind(written)
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._silent_until = 0.0
        self._sock.settimeout(0)
        with contextlib.suppress(OSError):
            # Accepted connections inherit both: without them, the kernel holds megabytes for a client that does not
            # read, or that sends without end.
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, connections.limits.unsent)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, connections.limits.unread)

    @property
    def address(self) -> str:
        """The address as the flag writes it, with its real port."""
        if not _is_tcp(self._sock):
            return f"unix:{self._sock.getsockname()}"
        host, port = self._sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept no more, and remove the file of a Unix socket."""
        self._loop.remove_reader(self._sock)
        if self._pause is not None:
            self._pause.cancel()
        if not _is_tcp(self._sock):
            with contextlib.suppress(OSError):
                Path(str(self._sock.getsockname())).unlink()
        self._sock.close()

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
            is_tcp = _is_tcp(sock)
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


def bind(written: str) -> socket.socket:
    """Return a socket that listens at the address: without a host, on IPv6 and IPv4, as Go's net.Listen does.

    Raises:
        ConfigError: it cannot be bound.
    """
    tcp = split_host(written)
    try:
        return _bind_unix(written.removeprefix("unix:")) if tcp is None else _bind_tcp(tcp[0], int(tcp[1]))
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            fix = "stop what uses it or choose another"
        elif isinstance(error, PermissionError) and tcp is not None and int(tcp[1]) < _UNPRIVILEGED:
            fix = "ports below 1024 need CAP_NET_BIND_SERVICE"
        elif isinstance(error, PermissionError):
            fix = "check the permissions of its folder"
        else:
            fix = "choose an address of this machine" if tcp else "choose one in a folder that exists"
        raise config_error("--web.listen-address", f"cannot listen at {written}: {why}", fix) from error


def _bind_tcp(host: str, port: int) -> socket.socket:
    if host in ("", "::") and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # As in Go: of a name's addresses, the first IPv4 one.
    family, *_, where = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server((str(where[0]), port), family=family, backlog=_BACKLOG)


def _bind_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket of a process that has ended: one that refuses connections."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


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


def is_loopback(written: str) -> bool:
    """Return whether only this machine can reach a listen address."""
    host = (split_host(written) or ("localhost",))[0]
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _log_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error outside of any request; a broken connection only at debug."""
    error, message = context.get("exception"), context.get("message", "")
    if isinstance(error, OSError | ssl.SSLError):
        log.debug("a connection failed", error=str(error), message=message)
    else:
        log.error("an error on the event loop", message=message, exc_info=error)
