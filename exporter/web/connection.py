"""One client's connection: its requests are read, answered in their order, and bounded in time."""

from __future__ import annotations

import asyncio
from collections import deque
from inspect import isawaitable
from typing import TYPE_CHECKING, cast

from exporter.log import get_logger, is_verbose
from exporter.web import wire
from exporter.web.message import Request, Response, text
from exporter.web.reader import Asked, Reader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from exporter.web.connections import Connections, Member

log = get_logger(__name__)

_DISCARDED = 8 * 1024 * 1024
"""Bytes that a client may go on sending once nobody listens any more."""

_LOGGED = 200
"""Characters of a path that the log shows."""


class Connection(asyncio.Protocol):
    """One client's connection, from the first byte to the last.

    A request is read whole, then answered, then the next one is looked at; what a client sends ahead waits. A fault of
    the client is answered by a 4xx, after which nothing is read any more.

    Args:
        all_of_them: the connections this one belongs to.
        door: what has stood for this connection so far.
        admit: says whether a client with this TLS certificate may stay; None where that is not asked.

    Attributes:
        deadline: when this connection has had its time, seconds of the loop's clock.
    """

    def __init__(self, all_of_them: Connections, door: Member, admit: Callable[[object], bool] | None = None) -> None:
        self.deadline = 0.0
        self._door = door
        self._all = all_of_them
        self._limits = all_of_them.limits
        self._admit = admit
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._reader: Reader | None = None
        self._address = ""
        self._tls = False
        # What waits for its answer, and the answer under way.
        self._queue: deque[Asked] = deque()
        self._busy = False
        self._last = False
        self._response: Response | None = None
        self._chunks: Iterator[bytes | memoryview] | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        # How it ends: nothing more is read; the client was refused; its time has run out once.
        self._deaf = False
        self._refused = False
        self._expired = False
        self._discarded = 0

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the first request has its time from now."""
        self._transport = cast("asyncio.Transport", transport)
        self.deadline = self._loop.time() + self._limits.request
        if not (self._all.leave(self._door) and self._all.join(self)):
            self._deaf = True
            self._transport.abort()
            return
        self._tls = transport.get_extra_info("sslcontext") is not None
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        if self._admit is not None and not self._admit(transport.get_extra_info("peercert")):
            log.warning("a client's certificate has no allowed name: connection closed", client=self._address)
            self._deaf = True
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._deaf:
            self._discarded += len(data)
            if self._discarded > _DISCARDED:
                self.abort()
            return
        if self._reader is None:
            self._reader = Reader(self._limits, self._address, self.abort)
        reader = self._reader
        was_reading = reader.reading
        self._take(reader.feed(data))
        if reader.reading and not self._busy:
            if not was_reading:
                self.deadline = self._loop.time() + self._limits.request
            if reader.asks_to_continue:
                reader.asks_to_continue = False
                self._transport.write(wire.CONTINUE)

    def eof_received(self) -> bool:
        """Keep the connection while an answer is under way: a client may close its half early."""
        self._deaf = True
        return self._busy and not self._tls

    def pause_writing(self) -> None:
        """Stop sending: the client is behind."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send on."""
        self._paused = False
        if self._chunks is not None:
            self._pump()
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it was lost is all the same
        """End: give back what was held."""
        self._all.leave(self)
        self._deaf = True
        self._chunks = self._reader = None
        self._queue.clear()
        self._done()

    # What the connections as a whole ask for.

    def expire(self) -> None:
        """End this connection, its time having run out: gently, and at once if that was tried before."""
        if self._expired or self._busy:
            self.abort()
            return
        self._expired = True
        self.deadline = self._loop.time() + self._limits.linger
        if self._reader is not None and self._reader.reading and not self._deaf:
            self._take(self._reader.expire())
        else:
            self._transport.close()

    def finish(self) -> None:
        """End this connection as soon as the response under way is sent."""
        self._deaf = True
        if not self._busy:
            self._transport.close()

    def abort(self) -> None:
        """End this connection at once."""
        self._transport.abort()

    # Answering.

    def _take(self, asked: list[Asked]) -> None:
        self._queue.extend(asked)
        if self._reader is not None and self._reader.ended:
            self._deaf = True
        self._advance()

    def _advance(self) -> None:
        """Answer what waits, one after the other, until an answer takes its time."""
        while self._queue and not self._busy:
            asked = self._queue.popleft()
            self._busy = True
            self._last = not asked.keep_alive or self._all.stopping or (self._deaf and not self._queue)
            self._all.waiting.pop(self, None)
            self.deadline = self._loop.time() + self._limits.response
            if isinstance(asked.what, Response):
                self._refused = True
                self._send(asked.what, asked)
            else:
                self._answer(asked.what, asked)
        if not self._deaf and not self._transport.is_closing():
            # What is sent ahead of its answer waits in the kernel, not here.
            if self._queue:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _answer(self, request: Request, asked: Asked) -> None:
        try:
            answer = self._all.handler(request)
        except Exception:  # noqa: BLE001 - a fault of one endpoint costs one answer
            answer = _fault(request)
        if isawaitable(answer):
            self._task = self._loop.create_task(self._answer_later(answer, request, asked))
        else:
            self._send(answer, asked)

    async def _answer_later(self, answer: Awaitable[Response], request: Request, asked: Asked) -> None:
        try:
            response = await answer
        except Exception:  # noqa: BLE001 - as above
            response = _fault(request)
        if self._transport.is_closing():
            response.done()
            return
        self._send(response, asked)
        self._advance()

    def _send(self, response: Response, asked: Asked) -> None:
        if is_verbose():
            self._log(response, asked)
        self._response = response
        head = wire.head(response, keep_alive=not self._last, old=asked.old)
        body = () if asked.bodiless() else response.body
        self._chunks = wire.chunks(head, body, tls=self._tls)
        self._pump()

    def _log(self, response: Response, asked: Asked) -> None:
        request = asked.what if isinstance(asked.what, Request) else None
        method, path = (request.method, request.path[:_LOGGED]) if request is not None else ("", "")
        size = sum(map(len, response.body))
        log.debug("answered", client=self._address, method=method, path=path, status=response.status, bytes=size)

    def _pump(self) -> None:
        """Hand over to the transport as much as it takes without piling up."""
        while self._chunks is not None and not self._paused:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._sent()
            else:
                self._transport.write(chunk)

    def _sent(self) -> None:
        self._chunks = self._task = None
        self._done()
        self._busy = False
        if self._last or (self._deaf and not self._queue):
            self._end()
            return
        reading = self._reader is not None and self._reader.reading
        self.deadline = self._loop.time() + (self._limits.request if reading else self._limits.idle)
        self._all.waiting[self] = None

    def _end(self) -> None:
        """Close, but not before a client that is still sending could read why it was refused."""
        self._queue.clear()
        self._deaf = True
        self.deadline = self._loop.time() + self._limits.linger
        if not self._refused:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def _done(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.done()


def _fault(request: Request) -> Response:
    log.exception("a request failed", path=request.path)  # noqa: LOG004 - called where it was caught
    return text(500, "this is a fault of the exporter: its log says more")
