"""HTTP/1.1 requests and responses, as values and as bytes (RFC 9110, RFC 9112); httptools parses the requests.

A head is delimited and bounded here, and parsed once it is whole, by a new parser for each request: what a request
means depends neither on how the network cuts it nor on what follows it.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.web.limits import Limits

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode("ascii") for s in HTTPStatus}


class Request(NamedTuple):
    """One request, or what is known of an invalid one; its body is discarded, since no endpoint uses one.

    Attributes:
        method: in upper case.
        path: with percent-escapes decoded, otherwise as sent.
        query: what follows the question mark, as sent.
        headers: by name in lower case; the values of a repeated header are joined by commas.
        keep_alive: whether another request may follow on the connection.
        old: whether it is HTTP/1.0.
        refusal: the response to an invalid request, after which none follows.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    keep_alive: bool
    old: bool
    refusal: Response | None = None


class Response(NamedTuple):
    """One response.

    Attributes:
        status: the HTTP status code.
        headers: each name once; `head` adds Date, Connection and Content-Length.
        body: in pieces.
        counted: whether it takes one of `limits.scrapes` until the client has received it.
    """

    status: int
    headers: Mapping[str, str]
    body: Sequence[bytes]
    counted: bool = False

    def head(self, configured: Mapping[str, str], *, keep_alive: bool, old: bool) -> bytes:
        """Return status line and headers.

        Args:
            configured: headers for every response, in place of its own.
            keep_alive: whether the connection is kept open.
            old: whether the request is HTTP/1.0, which needs to be answered that it is kept open.
        """
        lines = [_STATUS_LINES[self.status], _date(int(time.time()))]
        for name, value in {**self.headers, **configured}.items():
            if "\n" in value or "\r" in value:
                raise ValueError(f"the header {name} would end its line early")
            lines.append(f"{name}: {value}\r\n".encode("utf-8", "replace"))
        if not keep_alive:
            lines.append(b"Connection: close\r\n")
        elif old:
            lines.append(b"Connection: keep-alive\r\n")
        # For HEAD, too: the length of the response to GET.
        lines.append(b"Content-Length: %d\r\n\r\n" % sum(map(len, self.body)))
        return b"".join(lines)


def refused(response: Response) -> Request:
    return Request("", "", "", {}, keep_alive=False, old=False, refusal=response)


def text(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response of one line of plain text."""
    fixed = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return Response(status, {**fixed, **(headers or {})}, (sentence.encode("utf-8", "replace") + b"\n",))


@lru_cache(maxsize=2)
def _date(now: int) -> bytes:
    """Return the Date header (RFC 9110, section 5.6.7) for `now` in Unix seconds."""
    return f"Date: {formatdate(now, usegmt=True)}\r\n".encode("ascii")


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE = re.compile(_TOKEN + rb"+ [!-~]+ HTTP/(\d\.\d)\r\n")
_LINE_STARTS = re.compile(_TOKEN)
# A client may send extra empty lines after a request.
_EMPTY_LINES = re.compile(rb"(?:\r\n){0,8}")
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-fv:.]+(?:%25[\w.~-]+)?\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::\d{0,5})?", re.ASCII
)
_ORIGIN = re.compile(r"\A[^/?#:]+://[^/?#]*")
_DIGITS = 12
_LONGEST_PATH = 1024
"""Characters; a longer path belongs to no endpoint, and is not decoded."""

_TOO_LONG = text(414, "the request line is too long")
_HEAD_TOO_LARGE = text(431, "the request headers are too large")
_BODY_TOO_LARGE = text(413, "the request body is too large")
_MALFORMED = text(400, "this is not a request in HTTP/1.1")
_VERSION = text(505, "only HTTP/1.1 and HTTP/1.0 are supported")
_METHOD = text(405, "this method is not supported", {"Allow": "GET, HEAD"})
_FRAMING = text(400, "an HTTP/1.0 request must not have a Transfer-Encoding")
_CODING = text(501, "chunked is the only supported transfer coding")
_ONE_HOST = text(400, "a request needs exactly one Host header, with a host name and port")
_TOO_SLOW = text(408, "the request took too long")
FULL = text(503, "too many requests are in progress: try again later", {"Retry-After": "1"})


class Reader:
    """Reads the requests of one connection, as large as `limits` allow."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._message: _Message | None = None

    @property
    def reading(self) -> bool:
        """Whether part of a request has arrived; empty lines are none."""
        return self._message is not None or not _EMPTY_LINES.fullmatch(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Request | None:
        """Return the next request, valid or not; None for now."""
        try:
            if self._message is None:
                head = self._take_head()
                if head is None:
                    return None
                self._message = _Message(head, self._limits)
            if not self._message.take_body(self._buffer):
                return None
        except _RefusedError as error:
            return refused(error.response)
        request, self._message = self._message.request, None
        return request

    def take_expectation(self) -> bool:
        """Return, once for each request, whether the client waits for `100 Continue` before it sends the body."""
        message = self._message
        if message is None or not message.expects_continue or self._buffer:
            return False
        message.expects_continue = False
        return True

    def expire(self) -> Request | None:
        """Return a request that is late; None if none has begun."""
        return refused(_TOO_SLOW) if self.reading else None

    def _take_head(self) -> bytes | None:
        """Remove the request line and headers, with the empty line, from the buffer; None if they are not whole yet."""
        buffer, limits = self._buffer, self._limits
        start = _EMPTY_LINES.match(buffer).end()  # type: ignore[union-attr] # it also matches nothing
        if start == len(buffer):
            return None
        if not _LINE_STARTS.match(buffer, start) and buffer[start:] != b"\r":
            raise _RefusedError(_MALFORMED)
        line = buffer.find(b"\n", start, start + limits.line) + 1
        if not line:
            if len(buffer) - start >= limits.line:
                raise _RefusedError(_TOO_LONG)
            return None
        match = _REQUEST_LINE.fullmatch(buffer, start, line)
        if match is None:
            raise _RefusedError(_MALFORMED)
        if match[1] not in (b"1.1", b"1.0"):
            raise _RefusedError(_VERSION)
        end = buffer.find(b"\r\n\r\n", max(line - 2, self._searched - 3), start + limits.head)
        self._searched = len(buffer)
        if end < 0:
            if len(buffer) - start >= limits.head:
                raise _RefusedError(_HEAD_TOO_LARGE)
            return None
        head = bytes(buffer[start : end + 4])
        del buffer[: end + 4]
        self._searched = 0
        return head


class _RefusedError(Exception):
    """A request is invalid; the response says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class _Message:
    """One request, and how much of its body is still to come. httptools calls its `on_` methods."""

    def __init__(self, head: bytes, limits: Limits) -> None:
        self._url = b""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._head_done = self._complete = self._keep_alive = False
        self._parser = httptools.HttpRequestParser(self)
        upgrades = self._parse(head)
        if len(self._pairs) > limits.headers:
            raise _RefusedError(_HEAD_TOO_LARGE)
        headers = _joined(self._pairs)
        old = self._parser.get_http_version() == "1.0"
        hosts = sum(name.lower() == b"host" for name, _ in self._pairs)
        if hosts > 1 or (hosts == 0 and not old) or not _HOST.fullmatch(headers.get("host", "")):
            raise _RefusedError(_ONE_HOST)
        coding = headers.get("transfer-encoding")
        if coding is not None and old:
            raise _RefusedError(_FRAMING)
        if coding is not None and coding.lower() != "chunked":
            raise _RefusedError(_CODING)
        self._chunked = coding is not None and not upgrades
        length = headers.get("content-length", "0")
        if upgrades:
            self._left = 0
        elif self._chunked:
            self._left = limits.body
        elif len(length) > _DIGITS or int(length) > limits.body:
            raise _RefusedError(_BODY_TOO_LARGE)
        else:
            self._left = int(length)
        self.expects_continue = self._left > 0 and not old and headers.get("expect", "").lower() == "100-continue"
        # Nothing is read after a request for another protocol, or after a chunked body.
        keep_alive = self._keep_alive and not upgrades and not self._chunked
        method = self._parser.get_method().decode("ascii")
        self.request = Request(method, *_target(self._url), headers, keep_alive, old)

    def take_body(self, buffer: bytearray) -> bool:
        """Remove this request's body from the buffer as far as it is there; return whether it is whole."""
        if not self._left:
            return True
        taken = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(taken)
        if not self._chunked:
            return not self._left
        # The bound also covers the chunks' framing and the trailers.
        if taken:
            self._parse(taken)
        if not self._complete and not self._left:
            raise _RefusedError(_BODY_TOO_LARGE)
        return self._complete

    def _parse(self, data: bytes) -> bool:
        """Parse `data`; return whether the client asks for another protocol."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserError as error:
            # What follows the last chunk does not belong to this request.
            if self._complete:
                return False
            if isinstance(error, httptools.HttpParserInvalidMethodError):
                raise _RefusedError(_METHOD) from None
            coding = _joined(self._pairs).get("transfer-encoding", "chunked")
            raise _RefusedError(_MALFORMED if coding.lower() == "chunked" else _CODING) from None
        return False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers are ignored."""
        if not self._head_done:
            self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        """Note what the parser forgets when the message is complete."""
        self._head_done = True
        self._keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self._complete = True


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name in lower case, the values of a repeated one joined by commas."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key, content = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        found[key] = f"{found[key]}, {content}" if key in found else content
    return found


def _target(url: bytes) -> tuple[str, str]:
    """Return the path and query of a request's target, which may also be absolute, as sent to a proxy."""
    line = _ORIGIN.sub("", url.decode("latin-1"))
    path, _, query = line.partition("#")[0].partition("?")
    return (unquote(path) if "%" in path and len(path) <= _LONGEST_PATH else path) or "/", query
