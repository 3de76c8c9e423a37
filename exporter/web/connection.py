"""The open connections, each one coroutine: a request, its response, the next request."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct
import sys
from typing import TYPE_CHECKING

from exporter.log import get_logger, is_verbose
from exporter.web.http import CONTINUE, FULL, Reader, Request, Response, refused, text
from exporter.web.limits import Shares, Slots, client_key

if sys.platform != "win32":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.web.limits import Limits
    from exporter.web.site import Site

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


class Connections:
    """The open connections.

    Attributes:
        site: answers their requests.
        limits: what each may hold.
        scrapes: those with a counted response that is not yet delivered.
        draining: no connection is accepted any more, and each ends after its current response.
    """

    def __init__(self, site: Site, limits: Limits, room: int) -> None:
        self.site = site
        self.limits = limits
        self.scrapes = Slots(limits.scrapes, limits.grace)
        self.draining = False
        self._room = room
        self._open: set[Connection] = set()
        self._idle = Shares()

    def accept(self, sock: socket.socket, address: str) -> None:
        """Serve a new connection, in place of an idle one if there are too many; or close it."""
        if self.draining or (len(self._open) >= self._room and not self.make_room()):
            sock.close()
            return
        connection = Connection(self, sock, address)
        self._open.add(connection)
        self.note_idle(connection)

    def make_room(self) -> bool:
        """End the longest idle connection of the client with the most idle ones; return whether there was one."""
        largest = self._idle.largest()
        if largest is None:
            return False
        connection, _ = largest
        self.forget(connection)
        connection.cut()
        return True

    def note_idle(self, connection: Connection) -> None:
        if connection in self._open:
            self._idle.add(connection, asyncio.get_running_loop().time())

    def note_busy(self, connection: Connection) -> None:
        self._idle.discard(connection)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.discard(connection)

    async def stop(self) -> None:
        """End the idle connections now, and the others when they have answered or after `limits.stop` seconds."""
        self.draining = True
        while self.make_room():
            pass
        tasks = [connection.task for connection in self._open]
        if tasks:
            await asyncio.wait(tasks, timeout=self.limits.stop)
        for connection in list(self._open):
            connection.cut()
        # The transports need one round of the loop to close.
        await asyncio.sleep(0)


class Connection:
    """One client's connection.

    A request is read whole by a deadline, then answered by another, then the next one is read; what a client sends
    ahead waits. An invalid request is answered by a 4xx or 5xx, after which nothing more is read.

    Attributes:
        address: the client's IP address; empty on a Unix socket.
        client: what its use is counted under.
        task: runs it.
    """

    def __init__(self, connections: Connections, sock: socket.socket, address: str) -> None:
        self.address = address
        self.client = client_key(address)
        self._all = connections
        self._limits = connections.limits
        self._security = connections.site.security
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(self._limits)
        self._stream = asyncio.StreamReader(self._limits.head, self._loop)
        self._has_transport = False
        self._writer: asyncio.StreamWriter | None = None
        self._delivery: asyncio.TimerHandle | None = None
        self.task = self._loop.create_task(self._run())
        # Not in the coroutine, which does not run at all if it is cancelled before its first step.
        self.task.add_done_callback(self._end)

    def cut(self) -> None:
        """End this connection at once, whatever is still to be sent."""
        self.task.cancel()

    async def _run(self) -> None:
        try:
            await self._serve(*await self._open())
        except (OSError, ssl.SSLError) as error:
            # Anybody can send anything to an open port, or nothing in time, which must not fill the log.
            log.debug("a connection failed", client=self.address, error=str(error))
        except Exception:
            log.exception("a connection failed", client=self.address)

    async def _open(self) -> tuple[asyncio.StreamWriter, Request | None]:
        """Do the TLS handshake, if any; return how to write, and a refused request of a client that is not allowed."""
        protocol = asyncio.StreamReaderProtocol(self._stream, loop=self._loop)
        first = None
        # From now on the transport closes the socket.
        self._has_transport = True
        if self._security.context is None:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, self._sock)
        else:
            from exporter.web import tls  # noqa: PLC0415 - only with TLS

            context = self._security.context
            transport = await tls.shake_hands(protocol, self._sock, context, self._limits, self.address)
            allowed = self._security.allowed_sans
            if allowed is not None and not tls.has_name(allowed, transport.get_extra_info("peercert")):
                # Python's ssl cannot refuse a certificate that it has verified: the client is refused over HTTP.
                log.warning("a client's certificate has no allowed name: refused", client=self.address)
                first = refused(text(403, "the client's certificate has no name of client_allowed_sans"))
        self._writer = asyncio.StreamWriter(transport, protocol, self._stream, self._loop)
        return self._writer, first

    async def _serve(self, writer: asyncio.StreamWriter, first: Request | None) -> None:
        seconds, until = self._limits.request, 0.0
        while (request := first or await self._read(writer, seconds)) is not None:
            # A client may close its sending side early.
            ended = self._stream.at_eof() and not self._reader.reading
            last = not request.keep_alive or self._all.draining or ended
            async with asyncio.timeout(self._limits.response):
                if self._delivery is not None:
                    # Else it would note that this connection is idle.
                    self._delivery.cancel()
                    async with asyncio.timeout_at(until):
                        await self._wait_until_delivered(writer.transport)
                response = request.refusal or await self._answer(request)
                await self._send(writer, request, response, last=last)
                last |= self._all.draining
                if last and response.counted:
                    await self._wait_until_delivered(writer.transport)
            if last:
                async with asyncio.timeout(self._limits.linger):
                    await self._close(writer, refused=request.refusal is not None)
                return
            if response.counted:
                until = self._loop.time() + self._limits.response
                self._delivery = self._loop.call_later(_SHORTEST_NAP, self._check_delivery, writer.transport, until)
            else:
                self._all.note_idle(self)
            seconds = self._limits.idle
        # The client has closed its sending side, and may still be reading.
        async with asyncio.timeout(self._limits.response):
            await self._wait_until_delivered(writer.transport)

    async def _read(self, writer: asyncio.StreamWriter, seconds: float) -> Request | None:
        """Return the next request, which must begin within `seconds`; None if there are no more."""
        reader = self._reader
        has_begun = reader.reading
        try:
            async with asyncio.timeout(self._limits.request if has_begun else seconds) as deadline:
                while (request := reader.next()) is None:
                    if reader.reading and not has_begun:
                        has_begun = True
                        deadline.reschedule(self._loop.time() + self._limits.request)
                    if reader.take_expectation():
                        writer.write(CONTINUE)
                    data = await self._stream.read(_SEGMENT)
                    if not data:
                        return None
                    reader.feed(data)
        except TimeoutError:
            request = reader.expire()
        self._all.note_busy(self)
        return request

    async def _answer(self, request: Request) -> Response:
        try:
            response = await self._all.site.handle(request, self.client)
        except Exception:
            log.exception("a request failed", path=request.path)
            return text(500, "internal error: see the exporter's log")
        # Only now: what is refused takes no slot from anybody.
        return FULL if response.counted and not self._all.scrapes.take(self) else response

    async def _send(self, writer: asyncio.StreamWriter, request: Request, response: Response, *, last: bool) -> None:
        """Send a response, no faster than the client reads it."""
        if is_verbose():
            method, path, size = request.method, request.path[:_LOGGED], sum(map(len, response.body))
            log.debug("answered", client=self.address, method=method, path=path, status=response.status, bytes=size)
        head = response.head(self._all.site.security.headers, keep_alive=not last, old=request.old)
        body = () if request.method == "HEAD" else response.body
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
        self._all.scrapes.discard(self)


def _chunks(head: bytes, body: Sequence[bytes], size: int) -> Iterator[Sequence[bytes | memoryview]]:
    """Yield head and body in chunks of at most `size` bytes, each in pieces; longer pieces are cut."""
    chunk: list[bytes | memoryview] = [head]
    room = size - len(head)
    for piece in body:
        for start in range(0, len(piece), size):
            part = memoryview(piece)[start : start + size]
            if len(part) > room:
                yield chunk
                chunk, room = [], size
            chunk.append(part)
            room -= len(part)
    yield chunk


def _unsent(sock: socket.socket) -> int:
    """Return how many bytes the other end has not acknowledged, but may; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    try:
        unsent = int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
        if not unsent:
            return 0
        # The system still counts them after a reset, which asyncio does not notice once the client has half-closed.
        errors = select.poll()
        errors.register(sock, 0)
        return 0 if any(events & select.POLLERR for _, events in errors.poll(0)) else unsent
    except (OSError, ValueError):
        return 0
