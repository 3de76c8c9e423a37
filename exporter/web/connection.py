"""One client's connection, as one coroutine: a request, its response, the next request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
from typing import TYPE_CHECKING

from exporter.log import get_logger, is_verbose
from exporter.web.http import CONTINUE, Reader, Request, Response, text
from exporter.web.limits import Client, client_key

if sys.platform != "win32":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exporter.web.server import Connections

log = get_logger(__name__)

_SEGMENT = 64 * 1024

_CHUNK = 512 * 1024
"""Bytes written at once: enough for a large body to take few rounds of the loop, and few enough for a round to be short
and for a copy of what the kernel does not take to be small."""

_CHUNK_TLS = 64 * 1024
"""The same for TLS, which takes longer than a copy."""

_DISCARDED = 8 * 1024 * 1024
"""Bytes that a client may still send once nothing is read any more."""

_LOGGED = 200
"""Characters of a path in the log."""

_RESET = struct.pack("ii", 1, 0)
_SHORTEST_NAP, _LONGEST_NAP = 0.001, 0.1


class Connection:
    """One client's connection.

    A request is read whole by a deadline, then answered by another, then the next one is read; what a client sends
    ahead waits. An invalid request is answered by a 4xx or 5xx, after which nothing more is read.

    Attributes:
        client: the other end.
        task: runs it.
    """

    def __init__(self, connections: Connections, sock: socket.socket, address: str) -> None:
        self.client = Client(address, client_key(address), self.cut)
        self._all = connections
        self._limits = connections.limits
        self._security = connections.site.security
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(self._limits, self.client)
        self._stream = asyncio.StreamReader(self._limits.head, self._loop)
        self._has_transport = False
        self._writer: asyncio.StreamWriter | None = None
        self._done: Callable[[], None] | None = None
        self._delivery: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._is_late = False
        self._timer: asyncio.TimerHandle | None = None
        self.task = self._loop.create_task(self._run())
        # Not in the coroutine, which does not run at all if it is cancelled before its first step.
        self.task.add_done_callback(self._end)

    def cut(self) -> None:
        """End this connection at once."""
        self.task.cancel()

    async def _run(self) -> None:
        try:
            writer, refusal = await self._open()
            await self._serve(writer, refusal)
        except (OSError, ssl.SSLError) as error:
            # Anybody can send anything to an open port, which must not fill the log.
            log.debug("a connection failed", client=self.client.address, error=str(error))
        except Exception:
            log.exception("a connection failed", client=self.client.address)

    async def _open(self) -> tuple[asyncio.StreamWriter, Response | None]:
        """Do the TLS handshake, if any; return how to write, and the refusal of a client that is not allowed."""
        protocol = asyncio.StreamReaderProtocol(self._stream, loop=self._loop)
        refusal = None
        # From now on the transport closes the socket.
        self._has_transport = True
        if self._security.context is None:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, self._sock)
        else:
            from exporter.web import tls  # noqa: PLC0415 - only with TLS

            address = self.client.address
            transport = await tls.shake_hands(protocol, self._sock, self._security.context, self._limits, address)
            allowed = self._security.allowed_sans
            if allowed is not None and not tls.has_name(allowed, transport.get_extra_info("peercert")):
                # Python's ssl cannot refuse a certificate that it has verified: the client is refused over HTTP.
                log.warning("a client's certificate has no allowed name: refused", client=address)
                refusal = text(403, "the client's certificate has no name of client_allowed_sans")
        self._writer = asyncio.StreamWriter(transport, protocol, self._stream, self._loop)
        return self._writer, refusal

    async def _serve(self, writer: asyncio.StreamWriter, refusal: Response | None) -> None:
        seconds = self._limits.request
        while (found := refusal or await self._read(writer, seconds)) is not None:
            # A client may close its sending side early.
            ended = self._stream.at_eof() and not self._reader.reading
            last = isinstance(found, Response) or not found.keep_alive or self._all.draining or ended
            self._set_deadline(self._limits.response)
            if self._done is not None:
                await self._wait_until_delivered(writer.transport)
            response = found if isinstance(found, Response) else await self._answer(found)
            response = response.with_headers(self._all.site.security.headers)
            await self._send(writer, response, found, last=last)
            if last or self._all.draining:
                if response.done is not None:
                    await self._wait_until_delivered(writer.transport)
                await self._close(writer, refused=isinstance(found, Response))
                return
            if response.done is None:
                self._all.note_idle(self)
            else:
                until = self._loop.time() + self._limits.response
                self._delivery = self._loop.call_later(_SHORTEST_NAP, self._check_delivery, writer.transport, until)
            seconds = self._limits.idle
        # The client has closed its sending side, and may still be reading.
        self._set_deadline(self._limits.response)
        await self._wait_until_delivered(writer.transport)

    async def _read(self, writer: asyncio.StreamWriter, seconds: float) -> Request | Response | None:
        """Return the next request, the refusal of an invalid or late one, or None if there are no more.

        Args:
            writer: takes `100 Continue`.
            seconds: by when it must begin.
        """
        reader = self._reader
        has_begun = reader.reading
        self._set_deadline(self._limits.request if has_begun else seconds)
        try:
            while (found := reader.next()) is None:
                if reader.reading and not has_begun:
                    has_begun = True
                    self._set_deadline(self._limits.request)
                if reader.take_expectation():
                    writer.write(CONTINUE)
                data = await self._stream.read(_SEGMENT)
                if not data:
                    return None
                reader.feed(data)
        except asyncio.CancelledError:
            if not self._is_late or self.task.uncancel() > 0:
                raise
            self._is_late = False
            found = reader.expire()
        self._all.note_busy(self)
        return found

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._all.site.handle(request)
        except Exception:
            log.exception("a request failed", path=request.path)
            return text(500, "internal error: see the exporter's log")

    async def _send(
        self, writer: asyncio.StreamWriter, response: Response, found: Request | Response, *, last: bool
    ) -> None:
        """Send a response, no faster than the client reads it."""
        request = found if isinstance(found, Request) else None
        self._done = response.done
        if is_verbose():
            method, path = (request.method, request.path[:_LOGGED]) if request is not None else ("", "")
            client, size = self.client.address, sum(map(len, response.body))
            log.debug("answered", client=client, method=method, path=path, status=response.status, bytes=size)
        head = response.head(keep_alive=not last, old=request is not None and request.old)
        body = () if request is not None and request.method == "HEAD" else response.body
        is_tls = self._security.context is not None
        for chunk in _chunks(head, body, _CHUNK_TLS if is_tls else _CHUNK):
            if writer.transport.is_closing():
                raise ConnectionResetError("the client has disconnected")
            # With TLS, one record for all pieces instead of one for each.
            writer.writelines((b"".join(chunk),) if is_tls else chunk)
            await writer.drain()
            if is_tls or self._reader.reading:
                # A drain that need not wait lets nobody else have the event loop, neither other clients nor, with TLS,
                # the transport, which only then notices that the client has disconnected.
                await asyncio.sleep(0)

    async def _close(self, writer: asyncio.StreamWriter, *, refused: bool) -> None:
        """Close the connection, but leave a client that is still sending time to read its response."""
        self._all.note_idle(self)
        self._set_deadline(self._limits.linger)
        if writer.can_write_eof():
            writer.write_eof()
        if refused or writer.can_write_eof():
            discarded = 0
            while discarded < _DISCARDED and (data := await self._stream.read(_SEGMENT)):
                discarded += len(data)
        if not writer.is_closing():  # closed twice, asyncio's TLS transport of Python 3.11 can no longer be aborted
            writer.close()
        await writer.wait_closed()

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._all.forget(self)
        self._note_delivered()
        if self._timer is not None:
            self._timer.cancel()
        if not self._has_transport:
            self._sock.close()
        if self._writer is None:
            return
        transport = self._writer.transport
        if _unsent(self._sock) or self._is_undelivered(transport):
            # Otherwise the kernel keeps for minutes what the client does not read, and no limit counts it.
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
        self._writer = None

    # Delivery: until the client has received a response, the response takes up memory, at least the kernel's.

    async def _wait_until_delivered(self, transport: asyncio.WriteTransport) -> None:
        nap = 0.0
        while self._is_undelivered(transport):
            await asyncio.sleep(nap)
            nap = min(_LONGEST_NAP, nap * 2 or _SHORTEST_NAP)
        self._note_delivered()

    def _check_delivery(self, transport: asyncio.WriteTransport, until: float, nap: float = _SHORTEST_NAP) -> None:
        """Check, while the next request is read, whether the response has been delivered; cut it off after `until`."""
        if not self._is_undelivered(transport):
            self._note_delivered()
            self._all.note_idle(self)
            if self._all.draining:
                self.cut()
        elif self._loop.time() > until:
            self.cut()
        else:
            nap = min(_LONGEST_NAP, nap * 2)
            self._delivery = self._loop.call_later(nap, self._check_delivery, transport, until, nap)

    def _is_undelivered(self, transport: asyncio.WriteTransport) -> bool:
        return not transport.is_closing() and (transport.get_write_buffer_size() > 0 or _unsent(self._sock) > 0)

    def _note_delivered(self) -> None:
        """Note that the client has received the last response, or never will."""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if self._done is not None:
            self._done()
            self._done = None

    # Deadlines.

    def _set_deadline(self, seconds: float) -> None:
        """Set the deadline, in place of the previous one, at which the task is cancelled.

        The timer fires no later than after a request's time. So the longer deadlines, which every request sets, need
        not move it.
        """
        now = self._loop.time()
        self._deadline = now + seconds
        at = min(self._deadline, now + self._limits.request)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        left = self._deadline - self._loop.time()
        # A loop's clock and its timers may differ by a millisecond.
        if left > _SHORTEST_NAP:
            self._timer = self._loop.call_later(min(left, self._limits.request), self._check_deadline)
        else:
            self._is_late = True
            self.task.cancel()


def _chunks(head: bytes, body: Sequence[bytes], size: int) -> Iterator[Sequence[bytes | memoryview]]:
    """Yield head and body in chunks of `size`, each in pieces; pieces are cut where a chunk ends."""
    chunk: list[bytes | memoryview] = [head]
    room = size - len(head)
    for piece in body:
        rest = memoryview(piece)
        while len(rest) > room:
            chunk.append(rest[:room])
            rest = rest[room:]
            yield chunk
            chunk, room = [], size
        chunk.append(rest)
        room -= len(rest)
    yield chunk


def _unsent(sock: socket.socket) -> int:
    """Return how many bytes the other end has not acknowledged; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0
