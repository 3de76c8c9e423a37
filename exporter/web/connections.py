"""All open connections of the server: their bound, their deadlines and their end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from exporter.web.limits import Limits
    from exporter.web.message import Handler

_SWEEP = 0.25
"""Seconds between two looks at the deadlines. One sweep over 10,000 connections costs a millisecond; a timer for each
request would cost more, and most of them would be cancelled."""

_AT_ONCE = 100
"""Connections that are ended before others get their turn on the event loop."""


class Member(Protocol):
    """What a connection does for the whole of them."""

    deadline: float

    def expire(self) -> None:
        """End this connection, gently at first: its deadline has passed."""

    def finish(self) -> None:
        """End this connection as soon as the response under way is sent."""

    def abort(self) -> None:
        """End this connection at once."""


class Connections:
    """The open connections.

    Attributes:
        handler: answers their requests.
        limits: what each may hold.
        open: every one of them.
        waiting: those without a request under way, the longest waiting first.
        stopping: no new ones, and each ends with the response under way.
    """

    def __init__(self, handler: Handler, limits: Limits, room: int) -> None:
        self.handler = handler
        self.limits = limits
        self.open: set[Member] = set()
        self.waiting: dict[Member, None] = {}
        self.stopping = False
        self._room = room

    def join(self, member: Member) -> bool:
        """Take in a new connection, at the cost of the one that has waited longest if there are too many."""
        if self.stopping:
            return False
        if len(self.open) >= self._room and not self.make_room():
            return False
        self.open.add(member)
        self.waiting[member] = None
        return True

    def make_room(self) -> bool:
        """End the connection that has waited longest for its next request; say whether there was one."""
        oldest = next(iter(self.waiting), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.abort()
        return True

    def leave(self, member: Member) -> bool:
        """Forget a connection that is lost; say whether it was one of these."""
        known = member in self.open
        self.open.discard(member)
        self.waiting.pop(member, None)
        return known

    async def sweep(self) -> None:
        """End each connection whose deadline has passed, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            now = loop.time()
            late = [member for member in self.open if member.deadline < now]
            for number, member in enumerate(late, start=1):
                if member in self.open and member.deadline < now:
                    member.expire()
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def stop(self) -> None:
        """End all connections: those without a request now, the others when answered or when `limits.stop` is over."""
        self.stopping = True
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.stop
        for member in list(self.open):
            member.finish()
        while self.open and loop.time() < end:  # noqa: ASYNC110 - an event for each leaving would serve this one wait
            await asyncio.sleep(0.02)
        for member in list(self.open):
            member.abort()
        # One round of the loop for the aborted transports to say goodbye.
        await asyncio.sleep(0)
