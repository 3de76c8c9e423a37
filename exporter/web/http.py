"""Requests and responses as values, and a response's bytes (RFC 9110, RFC 9112)."""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    Handler = Callable[["Request"], "Response | Awaitable[Response]"]

PLAIN = "text/plain; charset=utf-8"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode("ascii") for s in HTTPStatus}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_CHUNK = 512 * 1024
"""Bytes handed to a transport at once: enough that a large body needs few rounds of the loop, little enough that none
of them takes long, nor much memory where the loop copies what the kernel does not take. TLS is slower than copying."""
_CHUNK_TLS = 64 * 1024


class Client(NamedTuple):
    """The other end of a connection.

    Attributes:
        address: its IP address; empty on a Unix socket.
        share: whom what it holds is counted for.
        cut: ends the connection at once, whatever is still to be sent.
    """

    address: str
    share: str
    cut: Callable[[], None]


class Request(NamedTuple):
    """One request; its body has been read and forgotten, since no endpoint has a use for one.

    Attributes:
        method: in upper case, as it came.
        path: with percent-escapes decoded, nothing else touched.
        query: what stood behind the question mark, as it came.
        headers: by name in lower case; the values of a repeated one are joined by a comma.
        client: who sent it.
        keep_alive: whether the client wants to go on after the answer.
        old: whether the client speaks HTTP/1.0.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    client: Client
    keep_alive: bool
    old: bool


class Response(NamedTuple):
    """One response.

    Attributes:
        status: the HTTP status code.
        headers: name and value; length, date and connection are added on sending.
        body: in pieces, which are sent as they are.
        done: called once, when the client has the whole of it or the connection is lost.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: Sequence[bytes] = ()
    done: Callable[[], None] | None = None

    def with_headers(self, headers: tuple[tuple[str, str], ...]) -> Response:
        """Return this response with `headers` set, each in place of its namesake."""
        if not headers:
            return self
        names = {name.lower() for name, _ in headers}
        kept = tuple(header for header in self.headers if header[0].lower() not in names)
        return self._replace(headers=(*kept, *headers))

    def head(self, *, keep_alive: bool, old: bool) -> bytes:
        """Return status line and headers.

        Args:
            keep_alive: whether the connection is kept open.
            old: whether the client speaks HTTP/1.0, which expects that in the answer.
        """
        lines = [_STATUS_LINES[self.status], _date(int(time.time()))]
        for name, value in self.headers:
            if "\n" in value or "\r" in value:
                raise ValueError(f"the header {name} would end its line early")
            lines.append(f"{name}: {value}\r\n".encode("utf-8", "replace"))
        if not keep_alive:
            lines.append(b"Connection: close\r\n")
        elif old:
            lines.append(b"Connection: keep-alive\r\n")
        # Also for HEAD, the length that GET would have.
        lines.append(b"Content-Length: %d\r\n\r\n" % sum(map(len, self.body)))
        return b"".join(lines)


def text(status: int, sentence: str, *headers: tuple[str, str]) -> Response:
    """Return a response for people: one line of plain text."""
    fixed = (("Content-Type", PLAIN), ("X-Content-Type-Options", "nosniff"))
    return Response(status, (*fixed, *headers), (sentence.encode("utf-8", "replace") + b"\n",))


@lru_cache(maxsize=2)
def _date(now: int) -> bytes:
    """Return the Date header (RFC 9110, section 5.6.7) of Unix second `now`."""
    t = time.gmtime(now)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return f"Date: {day}, {t.tm_mday:02} {month} {t.tm_year:04} {clock} GMT\r\n".encode("ascii")


def chunks(head: bytes, body: Sequence[bytes], *, tls: bool) -> Iterator[Sequence[bytes | memoryview]]:
    """Yield head and body in chunks fit to be written at once, each in pieces; large pieces are cut."""
    size = _CHUNK_TLS if tls else _CHUNK
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
