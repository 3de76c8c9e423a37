"""The bounds on what one client can hold, and for how long."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.web.connection import Connection


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; sizes in bytes, times in seconds."""

    # Open at once; fewer where the process may open fewer files. When all are taken, an idle one is closed: of the
    # client with the most idle connections, the one that has been idle longest.
    connections: int = 16_384
    # Scrapes, status pages and status requests at once. When all are taken, the oldest one of the client with the most
    # is cut off, at once or after `grace`, or the new one gets a 503.
    scrapes: int = 256
    grace: float = 5.0  # after it, a scrape may be cut off even for a client that has as many of them
    unsent: int = 256 * 1024  # the kernel's send buffer of a connection (it reserves twice as much)
    unread: int = 64 * 1024  # the kernel's receive buffer of a connection (it reserves twice as much)
    line: int = 8 * 1024  # the request line
    head: int = 32 * 1024  # the request line and headers
    headers: int = 100
    body: int = 64 * 1024  # the request body, which no endpoint uses
    request: float = 10.0  # from a request's first byte (or the connection) to its last; also the TLS handshake
    idle: float = 150.0  # between a response and the next request; longer than any sensible scrape interval
    response: float = 60.0  # from the request to the response's last byte
    linger: float = 2.0  # how long a refused client may keep sending, so that it can read why it was refused
    stop: float = 2.0  # for responses in progress when the server stops


def client_key(address: str) -> str:
    """Return what an address is counted under: itself, or its /64 in IPv6, which one client usually has to itself."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))


class Shares:
    """Connections by client, each client's oldest first."""

    def __init__(self) -> None:
        self._held: dict[str, dict[Connection, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def of(self, client: str) -> int:
        """Return how many connections `client` has here."""
        return len(self._held.get(client, ()))

    def add(self, connection: Connection, now: float) -> None:
        self._held.setdefault(connection.client, {})[connection] = now

    def discard(self, connection: Connection) -> None:
        held = self._held.get(connection.client, {})
        if held.pop(connection, None) is not None and not held:
            del self._held[connection.client]

    def largest(self) -> tuple[Connection, float] | None:
        """Return the oldest connection of the client with the most, and its time; of equals, the oldest of all."""
        if not self._held:
            return None
        held = max(self._held.values(), key=lambda one: (len(one), -next(iter(one.values()))))
        return next(iter(held.items()))


class Slots(Shares):
    """The slots for scrapes: the connections with a response that is counted and not yet delivered.

    A client that reads slowly, or not at all, must not keep others out. When all slots are taken, the client with the
    most loses its oldest: at once to a client with at least two fewer, to the others after `grace` seconds.

    Args:
        limit: the number of slots.
        grace: seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limit = limit
        self._grace = grace
        self._clock = clock

    def take(self, connection: Connection) -> bool:
        """Give a connection a slot, which may cut off another one; return whether there was one."""
        now = self._clock()
        largest = self.largest() if len(self) >= self._limit else None
        if largest is not None:
            oldest, since = largest
            if self.of(oldest.client) <= self.of(connection.client) + 1 and now - since < self._grace:
                return False
            self.discard(oldest)
            oldest.cut()
        self.add(connection, now)
        return True
