"""Listen addresses: from the flag to a listening socket."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from exporter.config.errors import config_error

_BACKLOG = 1024
_UNPRIVILEGED = 1024
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Address(NamedTuple):
    """One listen address: a host (empty for all) and port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""

    def is_loopback(self) -> bool:
        """Return whether only this machine can reach it."""
        if self.path or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def parse(written: str) -> Address:
    """Return the address that `:9365`, `host:port`, `[::1]:9365` or `unix:/path` means; the settings checked it."""
    if written.startswith("unix:"):
        return Address("", 0, written.removeprefix("unix:"))
    host, _, port = written.rpartition(":")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def bind(written: str) -> socket.socket:
    """Return a socket that listens at the address: without a host, on IPv6 and IPv4, as Go's net.Listen does.

    Raises:
        ConfigError: it cannot be bound.
    """
    address = parse(written)
    try:
        return _bind_unix(address.path) if address.path else _bind_tcp(address)
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            fix = "stop what uses it or choose another"
        elif isinstance(error, PermissionError) and not address.path and address.port < _UNPRIVILEGED:
            fix = "ports below 1024 need CAP_NET_BIND_SERVICE"
        elif isinstance(error, PermissionError):
            fix = "check the permissions of its folder"
        else:
            fix = "choose one in a folder that exists" if address.path else "choose an address of this machine"
        raise config_error("--web.listen-address", f"cannot listen at {written}: {why}", fix) from error


def name(listener: socket.socket) -> str:
    """Return the address of a listening socket as the flag writes it, with its real port."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def close(listener: socket.socket) -> None:
    """Close a listening socket, and remove the file of a Unix socket."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            Path(str(listener.getsockname())).unlink()
    listener.close()


def _bind_tcp(address: Address) -> socket.socket:
    host, port = address.host, address.port
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
