"""Basic authentication (RFC 7617) against bcrypt hashes, in bounded time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

import bcrypt

from exporter.web.worker import BusyError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

_LONGEST = 72
"""Bytes of a password that bcrypt uses; the rest is cut off, as Go does when it checks one."""

_WAITING = 16
_WAITING_FROM_ONE = 4
_RESERVED = 4
"""Checks that may wait from addresses that have sent no wrong password."""

_REMEMBERED = 1024
_ADDRESSES = 16_384


class Passwords:
    """Checks users and passwords against the web configuration.

    Each pair is computed once, in a thread, and remembered, right or wrong, by a keyed digest until the web
    configuration changes. The number of pairs that wait is bounded, in all and for each client, so that a flood of
    guesses takes the processor neither from scrapes nor from polls. A few places, with a thread of their own, are
    reserved for clients that have sent no wrong password: guesses do not lock out a new client that knows its password.
    An unknown user takes as long as the most expensive known one.
    """

    def __init__(self, users: Mapping[bytes, bytes]) -> None:
        self.use(users)
        self._wrong_from = _Memory(_ADDRESSES)
        self._worker = Worker("web-passwords", limit=_WAITING)
        self._reserved = Worker("web-passwords-reserved", limit=_RESERVED)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._from: Counter[str] = Counter()

    def use(self, users: Mapping[bytes, bytes]) -> None:
        """Check against these bcrypt hashes by user name, at least one, from now on, and forget all results."""
        self._users = users
        self._key = os.urandom(32)
        self._right = _Memory(_REMEMBERED)
        self._wrong = _Memory(_REMEMBERED)

    async def check(self, authorization: str | None, client: str) -> bool:
        """Return whether an Authorization header, if any, has a known user and the right password.

        A new check is counted for `client`.

        Raises:
            BusyError: too many checks are waiting, or too many of this client's.
        """
        attempt = self._attempt(authorization)
        if attempt is None:
            return False
        digest, is_right = attempt
        if digest in self._right or digest in self._wrong:
            return digest in self._right
        task = self._under_way.get(digest)
        if task is None:
            # Outside the task: it is this request that is refused if the queue is full.
            future = self._begin(is_right, client)
            task = asyncio.get_running_loop().create_task(self._remember(future, digest, client))
            self._under_way[digest] = task
            self._from[client] += 1
        # A request that is cancelled leaves the check to the others, which share it, and to the memory.
        return await asyncio.shield(task)

    def end(self) -> None:
        """Start no more checks."""
        self._worker.end()
        self._reserved.end()

    def _begin(self, is_right: Callable[[], bool], client: str) -> asyncio.Future[bool]:
        if not self._from[client] and client not in self._wrong_from:
            try:
                return self._reserved.do(is_right)
            except BusyError:
                pass
        if self._from[client] >= _WAITING_FROM_ONE:
            raise BusyError(client)
        return self._worker.do(is_right)

    async def _remember(self, future: asyncio.Future[bool], digest: bytes, client: str) -> bool:
        try:
            right = await future
        finally:
            del self._under_way[digest]
            self._from -= Counter((client,))
        (self._right if right else self._wrong).add(digest)
        if not right:
            self._wrong_from.add(client)
        return right

    def _attempt(self, authorization: str | None) -> tuple[bytes, Callable[[], bool]] | None:
        """Return under which digest a header's result is remembered, and what computes it; None if it is malformed."""
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except ValueError:
            return None
        if scheme.lower() != "basic" or not colon:
            return None
        hashed = self._users.get(user)
        # That of the most expensive user, by its cost in two digits, in place of an unknown one's.
        against = hashed or max(self._users.values(), key=lambda one: one[4:6])
        parts = (user, against, password, b"\1" if hashed else b"")
        whole = b"".join(len(part).to_bytes(8) + part for part in parts)

        def is_right() -> bool:
            # Without the interpreter's lock, for some twenty seconds at cost 18.
            return bcrypt.checkpw(password[:_LONGEST], against) and hashed is not None

        return hmac.digest(self._key, whole, hashlib.sha256), is_right


class _Memory:
    """A set of bounded size that forgets the least recently used items."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, item: Hashable) -> bool:
        if item not in self._held:
            return False
        self._held.move_to_end(item)
        return True

    def add(self, item: Hashable) -> None:
        self._held[item] = None
        self._held.move_to_end(item)
        if len(self._held) > self._size:
            self._held.popitem(last=False)
