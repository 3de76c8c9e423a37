"""Basic authentication (RFC 7617) against bcrypt hashes, in bounded time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

import bcrypt

from exporter.web.worker import BusyError, Worker

T = TypeVar("T", bound=Hashable)

Users = Mapping[bytes, bytes]
"""Bcrypt hashes by user name."""

_LONGEST = 72
"""Bytes of a password that bcrypt reads; the rest is cut off here, as Go does when it checks one."""

_WAITING = 16
_WAITING_FROM_ONE = 4
_RESERVED = 4
"""Checks that may wait from addresses which have guessed nothing wrong."""

_REMEMBERED = 1024
_ADDRESSES = 16_384


class _Attempt(NamedTuple):
    """One pair of user and password, to be checked against one hash.

    Attributes:
        digest: what it is remembered by.
        known: whether there is such a user; if not, the result does not count.
    """

    digest: bytes
    password: bytes
    hashed: bytes
    known: bool

    def is_right(self) -> bool:
        """Compute whether the password is right; at cost 18 for some twenty seconds, without the interpreter's lock."""
        return bcrypt.checkpw(self.password[:_LONGEST], self.hashed) and self.known


class Passwords:
    """Checks user names and passwords against one web configuration.

    Each pair is computed once, in a thread, and remembered, right or wrong, by a keyed digest; nothing is remembered
    beyond a change of the web configuration. Of new pairs only so many wait, and from one address only a few of these,
    so that a flood of guesses keeps neither scrapes nor polls from the processor. A few places, with a thread of their
    own, are left to addresses that have guessed nothing wrong: guesses do not lock out a new client that knows its
    password. An unknown user costs what the most expensive known one costs.
    """

    def __init__(self, users: Users) -> None:
        self.use(users)
        self._wrong_from: _Memory[str] = _Memory(_ADDRESSES)
        self._worker = Worker("web-passwords", limit=_WAITING)
        self._reserved = Worker("web-passwords-reserved", limit=_RESERVED)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._from: Counter[str] = Counter()

    def use(self, users: Users) -> None:
        """Check against these users, one at least, from now on, and forget what was remembered of others."""
        self._users = users
        self._key = os.urandom(32)
        self._right: _Memory[bytes] = _Memory(_REMEMBERED)
        self._wrong: _Memory[bytes] = _Memory(_REMEMBERED)

    def check(self, authorization: str | None) -> bool | None:
        """Say whether a request's Authorization header is right, or None if that has to be computed.

        Args:
            authorization: the header; None if there was none.
        """
        attempt = self._attempt(authorization)
        if attempt is None:
            return False
        if attempt.digest in self._right:
            return True
        return False if attempt.digest in self._wrong else None

    async def compute(self, authorization: str | None, client: str) -> bool:
        """Say whether the header is right, by computing it; requests with the same one share the work.

        Args:
            authorization: the header.
            client: whom its guesses are counted for.

        Raises:
            BusyError: too many checks are waiting, or too many of this client.
        """
        attempt = self._attempt(authorization)
        if attempt is None:
            return False
        task = self._under_way.get(attempt.digest)
        if task is None:
            # Begun before the task, so that this request gets the answer of a full queue.
            future = self._begin(attempt, client)
            task = asyncio.get_running_loop().create_task(self._remember(future, attempt, client))
            self._under_way[attempt.digest] = task
            self._from[client] += 1
        # Whoever gives up takes the result neither from the others nor from the memory.
        return await asyncio.shield(task)

    def end(self) -> None:
        """Compute no more than what is being computed."""
        self._worker.end()
        self._reserved.end()

    def _begin(self, attempt: _Attempt, client: str) -> asyncio.Future[bool]:
        if not self._from[client] and client not in self._wrong_from:
            try:
                return self._reserved.do(attempt.is_right)
            except BusyError:
                pass
        if self._from[client] >= _WAITING_FROM_ONE:
            raise BusyError(client)
        return self._worker.do(attempt.is_right)

    async def _remember(self, future: asyncio.Future[bool], attempt: _Attempt, client: str) -> bool:
        try:
            right = await future
        finally:
            del self._under_way[attempt.digest]
            self._from -= Counter((client,))
        (self._right if right else self._wrong).add(attempt.digest)
        if not right:
            self._wrong_from.add(client)
        return right

    def _attempt(self, authorization: str | None) -> _Attempt | None:
        pair = _pair(authorization)
        if pair is None:
            return None
        user, password = pair
        hashed = self._users.get(user)
        known = hashed is not None
        if hashed is None:
            hashed = max(self._users.values(), key=cost)
        return _Attempt(self._digest(user, hashed, password, b"\1" if known else b""), password, hashed, known)

    def _digest(self, *parts: bytes) -> bytes:
        """Return a digest of `parts` that means nothing outside this process."""
        whole = b"".join(len(part).to_bytes(8) + part for part in parts)
        return hmac.digest(self._key, whole, hashlib.sha256)


class _Memory(Generic[T]):
    """A set that forgets what was added or used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[T, None] = OrderedDict()

    def __contains__(self, item: T) -> bool:
        if item not in self._held:
            return False
        self._held.move_to_end(item)
        return True

    def add(self, item: T) -> None:
        """Remember `item`."""
        self._held[item] = None
        self._held.move_to_end(item)
        if len(self._held) > self._size:
            self._held.popitem(last=False)


def cost(hashed: bytes) -> int:
    """Return the cost of a bcrypt hash, which its time doubles with."""
    return int(hashed[4:6])


def _pair(authorization: str | None) -> tuple[bytes, bytes] | None:
    """Return user and password of a header; None if it is no basic authentication."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
