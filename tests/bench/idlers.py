"""`python -m tests.bench.idlers PORT COUNT`: clients that ask for nothing, and come back whenever they are cut off."""

from __future__ import annotations

import asyncio
import resource
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HALF = b"GET /metrics HTTP/1.1\r\nHo"
_DRIP = 2.0
"""Seconds between two bytes of a slow request."""


class _Idler(asyncio.Protocol):
    """One connection; it sends what it is told to, and sets `lost` when it is cut."""

    def __init__(self, lost: asyncio.Future[None]) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set_result(None)


async def hold(port: int, count: int) -> None:
    """Keep `count` connections open, for ever; print "holding" as soon as each has been open once."""
    missing = count

    def opened() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            sys.stdout.write("holding\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_come_back(port, opened, half=number % 3 > 0, drips=number % 3 > 1))
            await asyncio.sleep(0.0005)


async def _come_back(port: int, opened: Callable[[], None], *, half: bool, drips: bool) -> None:
    """Say nothing, half a request, or a request byte by byte; again and again."""
    loop = asyncio.get_running_loop()
    while True:
        lost: asyncio.Future[None] = loop.create_future()
        try:
            transport, _ = await loop.create_connection(partial(_Idler, lost), "127.0.0.1", port)
        except OSError:
            await asyncio.sleep(1)
            continue
        opened()
        opened = _nothing
        if half:
            transport.write(_HALF)
        while not lost.done():
            await asyncio.wait([lost], timeout=_DRIP if drips else None)
            if drips:
                transport.write(b"o")


def _nothing() -> None:
    pass


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(hold(int(sys.argv[1]), int(sys.argv[2])))
