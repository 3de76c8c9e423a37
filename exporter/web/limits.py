"""The bounds on what one client can hold, and for how long."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; sizes in bytes, times in seconds.

    Attributes:
        connections: open at once; fewer where the process may open fewer files. Beyond, a connection that waits for its
            next request makes room: the one that has waited longest, of the client that has most of them.
        scrapes: scrapes, status pages and their like under way at once; beyond, the answer is 503, or the oldest
            one of the client that has most of them makes room.
        grace: a scrape under way for so long makes room even for a client that has as many.
        unsent: what the kernel takes over for one connection before the client has it (it reserves twice as much).
        unread: what the kernel takes in for one connection before it is read (it reserves twice as much).
        line: the request's line.
        head: the request's line and headers.
        headers: how many of them.
        body: the request's body, which nothing here needs.
        request: from a request's first byte (at first: from the connection) to its last; also the TLS handshake.
        idle: between a response and the next request; longer than Prometheus' longest sensible scrape interval.
        response: from the request to the response's last byte.
        linger: how long a refused client may go on sending, so that it can read why it was refused.
        stop: for responses under way when the server stops.
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


def client_of(address: str) -> str:
    """Return whom what `address` holds is counted for: itself, or of IPv6 the /64 that one client usually has whole."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))


class Shares(Generic[T]):
    """Who holds what, each client's oldest first."""

    def __init__(self) -> None:
        self._held: dict[str, dict[T, float]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def of(self, client: str) -> int:
        """Return how much `client` holds."""
        return len(self._held.get(client, ()))

    def add(self, client: str, item: T, now: float) -> None:
        """Give `client` an item that it does not hold."""
        self._held.setdefault(client, {})[item] = now
        self._size += 1

    def discard(self, client: str, item: T) -> None:
        """Take an item back; nothing to do if `client` does not hold it."""
        held = self._held.get(client, {})
        if held.pop(item, None) is not None:
            self._size -= 1
            if not held:
                del self._held[client]

    def largest(self) -> tuple[str, T, float] | None:
        """Return the client that holds most, its oldest item and since when; of equals, the one with the oldest."""
        if not self._held:
            return None
        found = ((len(held), -next(iter(held.values())), client) for client, held in self._held.items())
        _, since, client = max(found)
        return client, next(iter(self._held[client])), -since


class Places:
    """The scrapes under way, at most `limit` of them.

    A client that reads slowly, or not at all, must not keep others out: where all places are taken, the oldest scrape
    of the client that has most makes room, for another client at once, among equals after `grace` seconds.

    Args:
        limit: how many at once.
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

    def enter(self, client: str, cut: Callable[[], None]) -> Callable[[], None] | None:
        """Take a place; None if there is none, else the function that gives it back.

        Args:
            client: whom it is counted for.
            cut: ends this scrape's connection.
        """
        now = self._clock()
        if len(self._shares) >= self._limit and not self._make_room(client, now):
            return None
        self._shares.add(client, cut, now)
        return lambda: self._shares.discard(client, cut)

    def _make_room(self, client: str, now: float) -> bool:
        largest = self._shares.largest()
        if largest is None:
            return False
        holder, cut, since = largest
        if self._shares.of(holder) <= self._shares.of(client) + 1 and now - since < self._grace:
            return False
        self._shares.discard(holder, cut)
        cut()
        return True
