"""One connection as one coroutine, and all of them together."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
from inspect import isawaitable
from typing import TYPE_CHECKING

from exporter.log import get_logger, is_verbose
from exporter.web.http import CONTINUE, Client, Reader, Request, Response, chunks, text
from exporter.web.limits import Shares, client_of

if sys.platform != "win32":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.web.http import Handler
    from exporter.web.limits import Limits
    from exporter.web.site import Security

log = get_logger(__name__)

_SEGMENT = 64 * 1024
_DISCARDED = 8 * 1024 * 1024
"""Bytes that a client may go on sending once nothing is read any more."""

_LOGGED = 200
"""Characters of a path that the log shows."""

_RESET = struct.pack("ii", 1, 0)
_SHORTEST_NAP, _LONGEST_NAP = 0.001, 0.1


class Connections:
    """The open connections.

    Attributes:
        handler: answers their requests.
        limits: what each may hold.
        draining: no new ones, and each ends with the response under way.
    """

    def __init__(self, handler: Handler, limits: Limits, room: int) -> None:
        self.handler = handler
        self.limits = limits
        self.draining = False
        self._room = room
        self._open: set[Connection] = set()
        self._waiting: Shares[Connection] = Shares()

    def accept(self, sock: socket.socket, address: str, security: Security) -> None:
        """Serve a new connection, at the cost of one that waits if there are too many; or close it."""
        if self.draining or (len(self._open) >= self._room and not self.make_room()):
            sock.close()
            return
        connection = Connection(self, sock, address, security)
        self._open.add(connection)
        self.wait(connection)

    def make_room(self) -> bool:
        """End the connection that has waited longest, of the client that has most; say whether there was one."""
        largest = self._waiting.largest()
        if largest is None:
            return False
        _, connection, _ = largest
        self.leave(connection)
        connection.cut()
        return True

    def wait(self, connection: Connection) -> None:
        """Note that a connection waits for a request."""
        if connection in self._open:
            self._waiting.add(connection.client.share, connection, asyncio.get_running_loop().time())

    def work(self, connection: Connection) -> None:
        """Note that a connection has a request, and waits no more."""
        self._waiting.discard(connection.client.share, connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self.work(connection)

    async def stop(self) -> None:
        """End all connections: those without a request now, the others when answered or when `limits.stop` is over."""
        self.draining = True
        while self.make_room():
            pass
        tasks = [connection.task for connection in self._open]
        if tasks:
            await asyncio.wait(tasks, timeout=self.limits.stop)
        for connection in list(self._open):
            connection.cut()
        # One round of the loop for the transports to end.
        await asyncio.sleep(0)


class Connection:
    """One client's connection.

    A request is read whole, under a deadline, then answered, under another, then the next one is read; what a client
    sends ahead waits. What cannot be a request is answered by a 4xx or 5xx, after which nothing is read any more.

    Attributes:
        client: the other end.
        task: runs it.
    """

    def __init__(self, connections: Connections, sock: socket.socket, address: str, security: Security) -> None:
        self.client = Client(address, client_of(address), self.cut)
        self._all = connections
        self._limits = connections.limits
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._security = security
        self._tls = security.context is not None
        self._reader = Reader(self._limits, self.client)
        self._opened = False
        self._refusal: Response | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._done: Callable[[], None] | None = None
        self._delivery: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._is_late = False
        self._timer: asyncio.TimerHandle | None = None
        self.task = self._loop.create_task(self._run())
        # Not in the coroutine: one that is cancelled before its first step runs none of it.
        self.task.add_done_callback(self._end)

    def cut(self) -> None:
        """End this connection at once."""
        self.task.cancel()

    async def _run(self) -> None:
        try:
            stream, self._writer = await self._open()
            await self._serve(stream, self._writer)
        except (OSError, ssl.SSLError) as error:
            # Anybody can send anything to an open port: no line of the log for each.
            log.debug("a connection failed", client=self.client.address, error=str(error))
        except Exception:
            log.exception("a connection failed", client=self.client.address)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._all.leave(self)
        self._deliver()
        if self._timer is not None:
            self._timer.cancel()
        if not self._opened:
            self._sock.close()
        if self._writer is None:
            return
        transport = self._writer.transport
        if transport.get_write_buffer_size() or _unsent(self._sock):
            # Otherwise the kernel would keep what the client does not read, for minutes and counted by nothing.
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
        self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Shake hands, where that is asked for."""
        stream = asyncio.StreamReader(self._limits.head, self._loop)
        protocol = asyncio.StreamReaderProtocol(stream, loop=self._loop)
        # From here on the transport closes the socket.
        self._opened = True
        if not self._tls:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, self._sock)
        else:
            from exporter.web import tls  # noqa: PLC0415 - only where TLS is

            transport = await tls.shake_hands(protocol, self._sock, self._security, self._limits, self.client.address)
            allowed = self._security.allowed_sans
            if allowed is not None and not tls.has_name(allowed, transport.get_extra_info("peercert")):
                # Python's ssl cannot refuse a certificate once it is verified: the client reads why in plain words.
                log.warning("a client's certificate has no allowed name: refused", client=self.client.address)
                self._refusal = text(403, "the client's certificate has no name of client_allowed_sans")
        return stream, asyncio.StreamWriter(transport, protocol, stream, self._loop)

    async def _serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seconds = self._limits.request
        while (found := self._refusal or await self._read(stream, writer, seconds)) is not None:
            # A client may close its half early.
            over = stream.at_eof() and not self._reader.reading
            last = isinstance(found, Response) or not found.keep_alive or self._all.draining or over
            self._allow(self._limits.response)
            if self._done is not None:
                await self._delivered(writer.transport)
            response = found if isinstance(found, Response) else await self._answer(found)
            await self._send(writer, response, found, last=last)
            if last or self._all.draining:
                if response.done is not None:
                    await self._delivered(writer.transport)
                await self._hang_up(stream, writer, refused=isinstance(found, Response))
                return
            if response.done is None:
                self._all.wait(self)
            else:
                until = self._loop.time() + self._limits.response
                self._delivery = self._loop.call_later(_SHORTEST_NAP, self._expect, writer.transport, until)
            seconds = self._limits.idle
        # The client has closed its half, and may be reading still.
        self._allow(self._limits.response)
        await self._delivered(writer.transport)

    async def _read(
        self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
    ) -> Request | Response | None:
        """Return the next request, the refusal of what cannot be one, or None if there is none any more.

        Args:
            stream: where it comes from.
            writer: takes the leave to send a body.
            seconds: how long it may take to begin.
        """
        reader = self._reader
        has_begun = reader.reading
        self._allow(self._limits.request if has_begun else seconds)
        try:
            while (found := reader.next()) is None:
                if reader.reading and not has_begun:
                    has_begun = True
                    self._allow(self._limits.request)
                if reader.waits_for_continue:
                    writer.write(CONTINUE)
                data = await stream.read(_SEGMENT)
                if not data:
                    return None
                reader.feed(data)
        except asyncio.CancelledError:
            if not self._is_late or self.task.uncancel() > 0:
                raise
            self._is_late = False
            found = reader.expire()
        self._all.work(self)
        return found

    async def _answer(self, request: Request) -> Response:
        try:
            answer = self._all.handler(request)
            return await answer if isawaitable(answer) else answer
        except Exception:
            log.exception("a request failed", path=request.path)
            return text(500, "this is an error of the exporter: its log says more")

    async def _send(
        self, writer: asyncio.StreamWriter, response: Response, found: Request | Response, *, last: bool
    ) -> None:
        """Send a response, no faster than the client takes it."""
        request = found if isinstance(found, Request) else None
        self._done = response.done
        if is_verbose():
            self._log(response, request)
        head = response.head(keep_alive=not last, old=request is not None and request.old)
        body = () if request is not None and request.method == "HEAD" else response.body
        for chunk in chunks(head, body, tls=self._tls):
            if writer.transport.is_closing():
                raise ConnectionResetError("the client has gone")
            # One record of TLS for all pieces, in place of one for each.
            writer.writelines((b"".join(chunk),) if self._tls else chunk)
            await writer.drain()
        if self._reader.reading:
            # A client that sends many requests ahead keeps nobody from the event loop.
            await asyncio.sleep(0)

    async def _delivered(self, transport: asyncio.WriteTransport) -> None:
        """Wait until the client has the last response: until then it takes up memory, the kernel's at least."""
        nap = 0.0
        while self._is_on_the_way(transport):
            await asyncio.sleep(nap)
            nap = min(_LONGEST_NAP, nap * 2 or _SHORTEST_NAP)
        self._deliver()

    def _expect(self, transport: asyncio.WriteTransport, until: float, nap: float = _SHORTEST_NAP) -> None:
        """Do the same while the next request is awaited, but not longer than `until`."""
        if not self._is_on_the_way(transport):
            self._deliver()
            self._all.wait(self)
            if self._all.draining:
                self.cut()
        elif self._loop.time() > until:
            self.cut()
        else:
            nap = min(_LONGEST_NAP, nap * 2)
            self._delivery = self._loop.call_later(nap, self._expect, transport, until, nap)

    def _is_on_the_way(self, transport: asyncio.WriteTransport) -> bool:
        return not transport.is_closing() and (transport.get_write_buffer_size() > 0 or _unsent(self._sock) > 0)

    def _deliver(self) -> None:
        """Note that the client has the last response, or never will."""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if self._done is not None:
            self._done()
            self._done = None

    async def _hang_up(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter, *, refused: bool) -> None:
        """Close, but not before a client that is still sending could read its answer."""
        self._all.wait(self)
        self._allow(self._limits.linger)
        if writer.can_write_eof():
            writer.write_eof()
        if refused or writer.can_write_eof():
            discarded = 0
            while discarded < _DISCARDED and (data := await stream.read(_SEGMENT)):
                discarded += len(data)
        writer.close()
        await writer.wait_closed()

    def _allow(self, seconds: float) -> None:
        """Let what is done next take so long, in place of what was allowed before; then the task is cancelled.

        The timer is set for no later than a request's deadline: the longer ones, which every request passes through,
        move none.
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

    def _log(self, response: Response, request: Request | None) -> None:
        method, path = (request.method, request.path[:_LOGGED]) if request is not None else ("", "")
        size = sum(map(len, response.body))
        log.debug("answered", client=self.client.address, method=method, path=path, status=response.status, bytes=size)


def _unsent(sock: socket.socket) -> int:
    """Return how many bytes the kernel holds that the other end has not acknowledged; 0 where that is not known."""
    if sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0
