"""Passwords: basic authentication (RFC 7617) against bcrypt hashes, that neither tells nor costs more than it must."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import bcrypt

from exporter.web.worker import BusyError, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 72
"""Bytes of a password that bcrypt looks at; the rest is cut off here, as Go does when it checks one."""

_WAITING = 16
_WAITING_FROM_ONE = 4
_REMEMBERED = 1024


class _Attempt(NamedTuple):
    """One pair of user and password, to be held against one hash.

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
    """Checks user names and passwords.

    Each pair is computed once, by a single thread beside the event loop, and remembered, right or wrong, by a keyed
    digest. Of new pairs only so many wait, and from one address only a few of these, so that a flood of guesses keeps
    neither scrapes nor polls from the processor, nor a user with the right password from the queue. An unknown user
    costs what a known one costs, and always the same one.
    """

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right = _Memory(_REMEMBERED)
        self._wrong = _Memory(_REMEMBERED)
        self._worker = Worker("web-passwords", limit=_WAITING)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._from: Counter[str] = Counter()

    def check(self, authorization: str | None, users: Mapping[bytes, bytes]) -> bool | None:
        """Say whether a request's Authorization header is right, or None if that has to be computed.

        Args:
            authorization: the header; None if there was none.
            users: bcrypt hashes by user name, one at least.
        """
        attempt = self._attempt(authorization, users)
        if attempt is None:
            return False
        if attempt.digest in self._right:
            return True
        return False if attempt.digest in self._wrong else None

    async def compute(self, authorization: str | None, users: Mapping[bytes, bytes], address: str) -> bool:
        """Say whether the header is right, by computing it; requests with the same one share the work.

        Args:
            authorization: the header.
            users: bcrypt hashes by user name, one at least.
            address: the client's.

        Raises:
            BusyError: too many checks are waiting, or too many from this address.
        """
        attempt = self._attempt(authorization, users)
        if attempt is None:
            return False
        task = self._under_way.get(attempt.digest)
        if task is None:
            if self._from[address] >= _WAITING_FROM_ONE:
                raise BusyError(address)
            # Begun before the task, so that a full queue is told to this request.
            future = self._worker.do(attempt.is_right)
            task = asyncio.get_running_loop().create_task(self._remember(future, attempt, address))
            self._under_way[attempt.digest] = task
            self._from[address] += 1
        # Whoever gives up takes the result neither from the others nor from the memory.
        return await asyncio.shield(task)

    def end(self) -> None:
        """Compute no more than what is being computed."""
        self._worker.end()

    async def _remember(self, future: asyncio.Future[bool], attempt: _Attempt, address: str) -> bool:
        try:
            right = await future
        finally:
            del self._under_way[attempt.digest]
            self._from -= Counter((address,))
        (self._right if right else self._wrong).add(attempt.digest)
        return right

    def _attempt(self, authorization: str | None, users: Mapping[bytes, bytes]) -> _Attempt | None:
        pair = _pair(authorization)
        if pair is None:
            return None
        user, password = pair
        hashed = users.get(user)
        known = hashed is not None
        if hashed is None:
            hashes = sorted(users.values())
            hashed = hashes[int.from_bytes(self._digest(user)[:8]) % len(hashes)]
        return _Attempt(self._digest(user, hashed, password), password, hashed, known)

    def _digest(self, *parts: bytes) -> bytes:
        """Return a digest of `parts` that means nothing outside this process."""
        whole = b"".join(len(part).to_bytes(8) + part for part in parts)
        return hmac.digest(self._key, whole, hashlib.sha256)


class _Memory:
    """A set that forgets what was added or asked for longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, item: bytes) -> bool:
        if item not in self._held:
            return False
        self._held.move_to_end(item)
        return True

    def add(self, item: bytes) -> None:
        """Remember `item`."""
        self._held[item] = None
        if len(self._held) > self._size:
            self._held.popitem(last=False)


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
