"""The bounds on what one client can hold, and for how long."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; sizes in bytes, times in seconds.

    Attributes:
        connections: open at once; fewer where the process may open fewer files. When all are taken, an idle one is
            closed: of the client with the most idle connections, the one that has been idle longest.
        scrapes: scrapes, status pages and status requests at once. When all are taken, the oldest one of the client
            with the most is cut off, or the new one gets a 503.
        grace: after this time a scrape may be cut off even for a client that has as many of them.
        unsent: the kernel's send buffer of a connection (it reserves twice as much).
        unread: the kernel's receive buffer of a connection (it reserves twice as much).
        line: the request line.
        head: the request line and headers.
        headers: the number of headers.
        body: the request body, which no endpoint uses.
        request: from a request's first byte (for the first request: from the connection) to its last; also the TLS
            handshake.
        idle: between a response and the next request; longer than any sensible scrape interval.
        response: from the request to the response's last byte.
        linger: how long a refused client may keep sending, so that it can read why it was refused.
        stop: for responses in progress when the server stops.
    """

    connections: int = 16_384
    scrapes: int = 256
    grace: float = 5.0
    unsent: int = 256 * 1024
    unread: int = 64 * 1024
    line: int = 8 * 1024
    head: int = 32 * 1024
    headers: int = 100
    body: int = 64 * 1024
    request: float = 10.0
    idle: float = 150.0
    response: float = 60.0
    linger: float = 2.0
    stop: float = 2.0


class Client(NamedTuple):
    """The other end of a connection.

    Attributes:
        address: its IP address; empty on a Unix socket.
        key: what its use is counted under, from `client_key`.
        cut: ends the connection at once, whatever is still to be sent.
    """

    address: str
    key: str
    cut: Callable[[], None]


def client_key(address: str) -> str:
    """Return what an address is counted under: itself, or its /64 in IPv6, which one client usually has to itself."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))


class Shares(Generic[T]):
    """What each client holds, oldest first."""

    def __init__(self) -> None:
        self._held: dict[str, dict[T, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def of(self, client: str) -> int:
        """Return how many items `client` holds."""
        return len(self._held.get(client, ()))

    def add(self, client: str, item: T, now: float) -> None:
        self._held.setdefault(client, {})[item] = now

    def discard(self, client: str, item: T) -> None:
        held = self._held.get(client, {})
        if held.pop(item, None) is not None and not held:
            del self._held[client]

    def largest(self) -> tuple[str, T, float] | None:
        """Return the client with the most items, its oldest item and its time; of equals, the one with the oldest."""
        if not self._held:
            return None
        found = ((len(held), -next(iter(held.values())), client) for client, held in self._held.items())
        _, since, client = max(found)
        return client, next(iter(self._held[client])), -since


class Slots:
    """The slots for scrapes.

    A client that reads slowly, or not at all, must not keep others out. When all slots are taken, the client with the
    most loses its oldest: at once to a client with at least two fewer, to the others after `grace` seconds.

    Args:
        limit: the number of slots.
        grace: seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._grace = grace
        self._clock = clock
        self._shares: Shares[Callable[[], None]] = Shares()

    def __len__(self) -> int:
        return len(self._shares)

    def acquire(self, client: Client) -> Callable[[], None] | None:
        """Take a slot; return the function that releases it, or None if there is no slot.

        The slot may be taken back: the client's connection is then cut.
        """
        now = self._clock()
        if len(self._shares) >= self._limit:
            largest = self._shares.largest()
            if largest is None:
                return None
            holder, cut, since = largest
            if self._shares.of(holder) <= self._shares.of(client.key) + 1 and now - since < self._grace:
                return None
            self._shares.discard(holder, cut)
            cut()
        self._shares.add(client.key, client.cut, now)
        return lambda: self._shares.discard(client.key, client.cut)
