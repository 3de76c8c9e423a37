"""The way in: accepting connections, and the TLS handshake of each."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

from exporter.log import get_logger
from exporter.web.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.web.connections import Connections
    from exporter.web.security import Security

log = get_logger(__name__)

_AT_ONCE = 64
"""Connections accepted before others have their turn."""

_BREATH = 0.01
"""Seconds to wait when no connection can be accepted."""

_SILENCE = 60.0
"""Seconds between two lines of the log that say so."""


class Porch:
    """Accepts the connections of one listener, each under the security in force at that moment.

    The event loop's own listeners keep one TLS context for ever, and shake hands before we hear of a connection: here
    it is counted from its first moment, and a change of certificates needs no new listener.

    Args:
        listener: listens already, and does not block.
        connections: those the new ones are to belong to.
        security: returns what they have to obey.
    """

    def __init__(self, listener: socket.socket, connections: Connections, security: Callable[[], Security]) -> None:
        self._listener = listener
        self._connections = connections
        self._security = security
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._silent_until = 0.0

    def open(self) -> None:
        """Accept from now on."""
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                # None is waiting, or the client was gone before it was accepted.
                return
            except OSError as error:
                self._hold_on(error)
                return
            sock.settimeout(0)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                # asyncio does this only for sockets that it has made itself.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Door(self._connections, sock, self._security()).open()

    def _hold_on(self, error: OSError) -> None:
        """Wait a moment where nobody can be let in, because too many files are open for instance."""
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            log.warning("no connection can be accepted for now", error=error.strerror)
        self._connections.make_room()
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_BREATH, self.open)


class Door:
    """One connection from its acceptance to the end of its handshake, counted and bounded in time like any request.

    Args:
        connections: those it is to belong to.
        sock: the connection.
        security: what it has to obey.

    Attributes:
        deadline: when the handshake has had its time, seconds of the loop's clock.
    """

    def __init__(self, connections: Connections, sock: socket.socket, security: Security) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + connections.limits.request
        self._connections = connections
        self._sock = sock
        self._security = security
        self._task: asyncio.Task[None] | None = None
        self._entered = False

    def open(self) -> None:
        """Let the connection in, if there is room."""
        if self._connections.join(self):
            self._task = self._loop.create_task(self._enter())
            self._task.add_done_callback(self._leave)
        else:
            self._sock.close()

    def _leave(self, _task: asyncio.Task[None]) -> None:
        self._connections.leave(self)
        if not self._entered:
            self._sock.close()

    def expire(self) -> None:
        """End the handshake."""
        self.abort()

    def finish(self) -> None:
        """End the handshake."""
        self.abort()

    def abort(self) -> None:
        """End the handshake; a connection without one ends as soon as it finds that this one is gone."""
        self._connections.leave(self)
        if self._task is not None and self._security.context is not None:
            self._task.cancel()

    async def _enter(self) -> None:
        # From here on the transport closes the socket.
        self._entered = True
        try:
            await self._loop.connect_accepted_socket(self._begin, self._sock, **self._tls())
        except (OSError, ssl.SSLError) as error:
            # Anybody can send anything to an open port: no line of the log for each.
            log.debug("a connection failed before its first request", error=str(error))

    def _tls(self) -> dict[str, Any]:
        if self._security.context is None:
            return {}
        limits = self._connections.limits
        times = {"ssl_handshake_timeout": limits.request, "ssl_shutdown_timeout": limits.linger}
        return {"ssl": self._security.context, **times}

    def _begin(self) -> Connection:
        allowed = self._security.allowed_sans
        if allowed is None:
            return Connection(self._connections, self)
        from exporter.web.tls import has_name  # noqa: PLC0415 - only where certificates are asked for

        return Connection(self._connections, self, partial(has_name, allowed))
