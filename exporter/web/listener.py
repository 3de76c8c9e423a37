"""Listen addresses: from a flag to sockets that accept."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exporter.config.errors import config_error
from exporter.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.web.connection import Connections
    from exporter.web.site import Security

log = get_logger(__name__)

_BACKLOG = 1024
_UNPRIVILEGED = 1024
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_AT_ONCE = 64
"""Connections accepted before others have their turn."""

_PAUSE = 0.01
"""Seconds to wait when no connection can be accepted."""

_SILENCE = 60.0
"""Seconds between two lines of the log that say so."""


class Address(NamedTuple):
    """One listen address: a host (empty for all) and port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""

    def is_loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def parse(written: str) -> Address:
    """Return the address that `:9365`, `host:port`, `[::1]:9365` or `unix:/path` means, which the settings checked."""
    if written.startswith("unix:"):
        return Address("", 0, written.removeprefix("unix:"))
    host, _, port = written.rpartition(":")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def bind(written: str) -> socket.socket:
    """Return a socket that listens at the address, on IPv6 and IPv4 where no host is given (as Go's net.Listen does).

    Raises:
        ConfigError: it cannot be bound.
    """
    address = parse(written)
    try:
        return _bind_unix(address.path) if address.path else _bind_tcp(address)
    except OSError as error:
        why = error.strerror or str(error)
        fix = "stop what uses it or choose another"
        if isinstance(error, PermissionError):
            needs_capability = not address.path and address.port < _UNPRIVILEGED
            fix = "ports below 1024 need CAP_NET_BIND_SERVICE" if needs_capability else "check who may write there"
        raise config_error("--web.listen-address", f"cannot listen at {written}: {why}", fix) from error


def name(listener: socket.socket) -> str:
    """Return the address a socket listens at, with the port it got, as the flag would say it."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unlink(listener: socket.socket) -> None:
    """Remove a Unix socket's file; nothing to do for others."""
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        Path(str(listener.getsockname())).unlink()


def _bind_tcp(address: Address) -> socket.socket:
    host, port = address.host, address.port
    if host in ("", "::") and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # As in Go: of several addresses of a name, the first of IPv4.
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
    """Remove a socket that its process left behind: one at which nobody answers."""
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


class Listener:
    """Accepts the connections of one listening socket, each under the security in force at that moment.

    The event loop's own servers keep one TLS context for ever, and shake hands before they tell of a connection: here
    it is counted from its first moment, and a change of certificates needs no new socket.

    Args:
        sock: listens already.
        connections: those the new ones are to belong to.
        security: returns what they have to obey.
    """

    def __init__(self, sock: socket.socket, connections: Connections, security: Callable[[], Security]) -> None:
        self._sock = sock
        self._connections = connections
        self._security = security
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._silent_until = 0.0
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            # Accepted connections inherit both: the kernel is not to keep megabytes for a client that does not read, or
            # sends without end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, connections.limits.unsent)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, connections.limits.unread)

    def open(self) -> None:
        """Accept from now on."""
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._sock)
        if self._pause is not None:
            self._pause.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                # None is waiting, or the client was gone before it was accepted.
                return
            except OSError as error:
                self._hold_on(error)
                return
            sock.settimeout(0)
            is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
            if is_tcp:
                # asyncio does this only for sockets that it has made itself.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.accept(sock, str(address[0]) if is_tcp else "", self._security())

    def _hold_on(self, error: OSError) -> None:
        """Wait a moment where no connection can be accepted, because too many files are open for instance."""
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            log.warning("no connection can be accepted for now", error=error.strerror)
        self._connections.make_room()
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(_PAUSE, self.open)
