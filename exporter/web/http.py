"""HTTP/1.1 as bytes and as values: requests, which httptools parses, and responses (RFC 9110, RFC 9112).

A head is found and bounded here, and parsed once it is whole, each request by a parser of its own: what a request comes
to does not depend on how the network cut it, nor on what follows it.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from exporter.web.limits import Limits

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


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE = re.compile(_TOKEN + rb"+ [!-~]+ HTTP/(\d\.\d)\r\n")
_LINE_STARTS = re.compile(_TOKEN)
# A client may end its last request with empty lines too many.
_EMPTY_LINES = re.compile(rb"(?:\r\n){0,8}")
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-fv:.]+(?:%25[\w.~-]+)?\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::\d{0,5})?", re.ASCII
)
_DIGITS = 12
_LONGEST_PATH = 1024
"""Characters beyond which a path is no endpoint's, and not worth the time of decoding it."""

_TOO_LONG = text(414, "the request's line is too long")
_HEAD_TOO_LARGE = text(431, "the request's head is too large")
_BODY_TOO_LARGE = text(413, "the request's body is too large: nothing here needs one")
_MALFORMED = text(400, "this is not a request in HTTP/1.1")
_VERSION = text(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
_METHOD = text(405, "this method is not known here", ("Allow", "GET, HEAD"))
_FRAMING = text(400, "a request in HTTP/1.0 has no Transfer-Encoding")
_CODING = text(501, "of transfer codings, only chunked is spoken here")
_ONE_HOST = text(400, "a request needs exactly one Host header, with a host's name and port")
_TOO_SLOW = text(408, "the request took too long")


class Reader:
    """Reads one connection's requests.

    Args:
        limits: how large a request may be.
        client: who sends them.
    """

    def __init__(self, limits: Limits, client: Client) -> None:
        self._limits = limits
        self._client = client
        self._buffer = bytearray()
        self._searched = 0
        self._message: _Message | None = None

    @property
    def reading(self) -> bool:
        """Whether a request has begun that is not whole yet."""
        return bool(self._buffer) or self._message is not None

    @property
    def waits_for_continue(self) -> bool:
        """Whether the client waits for leave to send the body of the request that has begun; said once."""
        message = self._message
        if message is None or not message.waits_for_continue or self._buffer:
            return False
        message.waits_for_continue = False
        return True

    def feed(self, data: bytes) -> None:
        """Take in what has arrived."""
        self._buffer += data

    def next(self) -> Request | Response | None:
        """Return the next request, the refusal of what cannot be one, after which nothing follows, or None for now."""
        try:
            if self._message is None:
                head = self._take_head()
                if head is None:
                    return None
                self._message = _Message(head, self._limits.headers, self._limits.body)
            if not self._message.take_body(self._buffer):
                return None
            request = self._message.request(self._client)
        except RefusedError as refused:
            return refused.response
        self._message = None
        return request

    def expire(self) -> Response | None:
        """Return the refusal of a request that has not become whole in time; None if none has begun."""
        return _TOO_SLOW if self.reading else None

    def _take_head(self) -> bytes | None:
        """Take a head, from its first line through its empty line; None as long as it is not whole."""
        buffer, limits = self._buffer, self._limits
        start = _EMPTY_LINES.match(buffer).end()  # type: ignore[union-attr] # nothing at all matches too
        if start == len(buffer):
            return None
        if not _LINE_STARTS.match(buffer, start) and buffer[start:] != b"\r":
            raise RefusedError(_MALFORMED)
        line = buffer.find(b"\n", start, start + limits.line) + 1
        if not line:
            if len(buffer) - start >= limits.line:
                raise RefusedError(_TOO_LONG)
            return None
        match = _REQUEST_LINE.fullmatch(buffer, start, line)
        if match is None:
            raise RefusedError(_MALFORMED)
        if match[1] not in (b"1.1", b"1.0"):
            raise RefusedError(_VERSION)
        end = buffer.find(b"\r\n\r\n", max(line - 2, self._searched - 3), start + limits.head)
        self._searched = len(buffer)
        if end < 0:
            if len(buffer) - start >= limits.head:
                raise RefusedError(_HEAD_TOO_LARGE)
            return None
        head = bytes(buffer[start : end + 4])
        del buffer[: end + 4]
        self._searched = 0
        return head


class RefusedError(Exception):
    """A request cannot be one; the response says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class _Message:
    """One request: its head, and how much of its body is still to come."""

    def __init__(self, head: bytes, most_headers: int, largest_body: int) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_done = self._complete = self._keep_alive = False
        self._parser = httptools.HttpRequestParser(self)
        self._named: dict[str, str] = {}
        upgrades = self._feed(head)
        if len(self._headers) > most_headers:
            raise RefusedError(_HEAD_TOO_LARGE)
        self._old = self._parser.get_http_version() == "1.0"
        # What follows a request for another protocol, or a body in chunks, is read no more.
        self._keep_alive &= not upgrades
        self._check_host()
        self._chunked = self._check_coding() and not upgrades
        self._left = 0 if upgrades else largest_body if self._chunked else self._length(largest_body)
        self.waits_for_continue = self._left > 0 and self._named.get("expect", "").lower() == "100-continue"

    def take_body(self, buffer: bytearray) -> bool:
        """Take what belongs to the body, which nobody needs; say whether it is whole."""
        if not self._left:
            return True
        taken = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(taken)
        if not self._chunked:
            return not self._left
        # Its framing and its trailers count as well.
        self._keep_alive = False
        if taken:
            self._feed(taken)
        if not self._complete and not self._left:
            raise RefusedError(_BODY_TOO_LARGE)
        return self._complete

    def request(self, client: Client) -> Request:
        """Return the request as a whole."""
        path, query = _target(self._url)
        method = self._parser.get_method().decode("ascii")
        return Request(method, path, query, self._named, client, self._keep_alive, self._old)

    def _feed(self, data: bytes) -> bool:
        """Parse `data`; say whether another protocol would follow."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserError as error:
            # What follows the last chunk is no part of this request.
            if self._complete:
                return False
            if isinstance(error, httptools.HttpParserInvalidMethodError):
                raise RefusedError(_METHOD) from None
            self._named = _joined(self._headers)
            raise RefusedError(_MALFORMED if self._coding() in (None, "chunked") else _CODING) from None
        return False

    def _check_host(self) -> None:
        hosts = sum(name.lower() == b"host" for name, _ in self._headers)
        if hosts > 1 or (hosts == 0 and not self._old) or not _HOST.fullmatch(self._named.get("host", "")):
            raise RefusedError(_ONE_HOST)

    def _check_coding(self) -> bool:
        coding = self._coding()
        if coding is None:
            return False
        if self._old:
            raise RefusedError(_FRAMING)
        if coding != "chunked":
            raise RefusedError(_CODING)
        return True

    def _coding(self) -> str | None:
        coding = self._named.get("transfer-encoding")
        return None if coding is None else coding.lower()

    def _length(self, largest: int) -> int:
        written = self._named.get("content-length", "0")
        if len(written) > _DIGITS or int(written) > largest:
            raise RefusedError(_BODY_TOO_LARGE)
        return int(written)

    # What the parser finds.

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is none."""
        if not self._head_done:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Take no more headers; the parser forgets what they said when the message is complete."""
        self._head_done = True
        self._named = _joined(self._headers)
        self._keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """Take no more of the body."""
        self._complete = True


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name in lower case, the values of a repeated one joined by a comma."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key, content = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        found[key] = f"{found[key]}, {content}" if key in found else content
    return found


def _target(url: bytes) -> tuple[str, str]:
    """Return path and query of a request's target, in origin form or (as to a proxy) in absolute form."""
    line = url.decode("latin-1")
    if not line.startswith("/"):
        _, scheme, rest = line.partition("://")
        line = "/" + rest.partition("/")[2] if scheme else line
    path, _, query = line.partition("#")[0].partition("?")
    return (unquote(path) if "%" in path and len(path) <= _LONGEST_PATH else path), query
