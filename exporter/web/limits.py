"""How much of the server one client can hold, and for how long."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; sizes in bytes, times in seconds.

    Attributes:
        connections: open at once; fewer where the process may open fewer files. Beyond, the connection that has waited
            longest for its next request makes room.
        scrapes: under way at once; beyond, the answer is 503.
        scrape_patience: a scrape under way for so long gives way to a new one when all places are taken.
        line: the request's target.
        head: the request's line and headers.
        headers: how many of them.
        body: the request's body, which nothing here needs.
        pipeline: requests sent before their predecessors were answered.
        request: from a request's first byte (at first: from the connection) to its last; also the TLS handshake.
        idle: between a response and the next request; longer than Prometheus' longest sensible scrape interval.
        response: from the request to the response's last byte.
        linger: how long a refused client may go on sending, so that it can read why it was refused.
        stop: for responses under way when the server stops.
    """

    connections: int = 16_384
    scrapes: int = 256
    scrape_patience: float = 5.0
    line: int = 16 * 1024
    head: int = 32 * 1024
    headers: int = 100
    body: int = 64 * 1024
    pipeline: int = 16
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
