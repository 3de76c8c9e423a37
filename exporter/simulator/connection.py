"""One connection of the server: HTTP/1.1 by httptools, and every way in which an answer can go wrong on the wire."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import parse_qsl, unquote

import httptools

from exporter.simulator.messages import PLAIN, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.clouds import Cloud, Origin

_CHUNK = 65536


class Answerer(Protocol):
    """What a connection asks of its server."""

    latency: float
    connections: set[Connection]

    def place(self, origin: Origin, host: str) -> tuple[Cloud, Origin]:
        """Return the cloud and the role in which a request for that host is answered."""
        ...

    def answer(self, request: Request) -> Response:
        """Return the answer."""
        ...


class Connection(asyncio.Protocol):
    """Reads requests and writes their answers, one after the other.

    Args:
        server: who answers.
        origin: which of Microsoft's hosts this port stands for.
    """

    def __init__(self, server: Answerer, origin: Origin) -> None:
        self._server = server
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: list[tuple[Response, bool]] = []
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._reset()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever is still being sent."""
        del exc
        self._server.connections.discard(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()

    def pause_writing(self) -> None:
        """Wait with further chunks."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on with further chunks."""
        self._writable.set()

    def close(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    # httptools' side

    def on_url(self, url: bytes) -> None:
        """Take (a part of) the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer the request that has been read."""
        path, _, query = self._url.decode("latin-1").partition("?")
        cloud, origin = self._server.place(self._origin, self._headers.get("host", ""))
        request = Request(
            cloud=cloud,
            origin=origin,
            method=self._parser.get_method().decode(),
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=self._headers,
            body=self._body,
        )
        keep = self._parser.should_keep_alive()
        self._reset()
        self._send(self._server.answer(request), keep=keep)

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    # Sending

    def _send(self, response: Response, *, keep: bool) -> None:
        if self._task is not None:
            self._waiting.append((response, keep))
        elif response.wire is PLAIN and not self._server.latency:
            self._write(response, keep=keep)
        elif response.wire is PLAIN:
            self._loop.call_later(self._server.latency, lambda: self._write(response, keep=keep))
        else:
            self._task = self._loop.create_task(self._send_badly(response, keep=keep))
            self._task.add_done_callback(self._next)

    def _next(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        task.result()
        while self._waiting and self._task is None:
            response, keep = self._waiting.pop(0)
            self._send(response, keep=keep)

    def _write(self, response: Response, *, keep: bool) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(head(response, keep=keep) + response.body)
        if not keep:
            self._transport.close()

    async def _send_badly(self, response: Response, *, keep: bool) -> None:
        wire = response.wire
        await asyncio.sleep(self._server.latency + wire.delay)
        if wire.cut == -1:
            self._transport.abort()
            return
        await self._pour(head(response, keep=keep), wire.drip_headers)
        if not wire.endless:
            await self._pour(response.body[: wire.cut], wire.drip)
        while wire.endless and not self._transport.is_closing():
            await self._pour_chunk(response.body or b"\0")
        if wire.cut is not None or not keep:
            self._transport.close()

    async def _pour(self, data: bytes, pause: float) -> None:
        if not pause:
            self._transport.write(data)
            await self._writable.wait()
            return
        for byte in data:
            if self._transport.is_closing():
                return
            self._transport.write(bytes((byte,)))
            await asyncio.sleep(pause)

    async def _pour_chunk(self, data: bytes) -> None:
        data = data * (1 + _CHUNK // len(data))
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writable.wait()
        await asyncio.sleep(0)


def head(response: Response, *, keep: bool) -> bytes:
    """Return status line and headers, the length among them."""
    status = HTTPStatus(response.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in response.headers)]
    if response.wire.endless:
        lines.append("Transfer-Encoding: chunked")
    elif status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        lines.append(f"Content-Length: {len(response.body)}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def factory(server: Answerer, origin: Origin) -> Callable[[], Connection]:
    """Return what makes the connections of one port."""
    return lambda: Connection(server, origin)
