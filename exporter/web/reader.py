"""From bytes to requests: httptools parses (RFC 9112), this module bounds what it finds.

There is no framework between the parser and the endpoints. Measured, uvicorn and Starlette are no faster, and add 9 MB
of memory and 40 ms of start-up; and they lack the deadlines and limits that an open port needs, which would have to be
built around their inner parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import httptools

from exporter.web import wire
from exporter.web.message import Request, Response, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.web.limits import Limits


class Asked(NamedTuple):
    """A request to be answered, or the refusal of what cannot be one.

    Attributes:
        what: the one or the other; after a refusal nothing follows.
        keep_alive: whether the client wants to go on after the answer.
        old: whether the client speaks HTTP/1.0.
    """

    what: Request | Response
    keep_alive: bool = False
    old: bool = False

    def bodiless(self) -> bool:
        """Say whether the answer has a head only."""
        return isinstance(self.what, Request) and self.what.method == "HEAD"


class Reader:
    """Reads one connection's requests.

    Args:
        limits: how large a request may be.
        address: the client's.
        drop: cuts the connection.

    Attributes:
        reading: whether a request has begun that is not whole yet.
        ended: whether nothing more will be read: the client was refused, or wants another protocol.
        asks_to_continue: whether the client waits for leave to send the body of the request that has begun.
    """

    def __init__(self, limits: Limits, address: str, drop: Callable[[], None]) -> None:
        self.reading = False
        self.ended = False
        self.asks_to_continue = False
        self._limits = limits
        self._address = address
        self._drop = drop
        self._parser = httptools.HttpRequestParser(self)
        self._asked: list[Asked] = []
        self._in_head = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body_size = 0
        self._fed = 0

    def feed(self, data: bytes) -> list[Asked]:
        """Return what `data` completes, in order."""
        if self.ended:
            return []
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself is answered; what follows would be another protocol.
            self.ended = True
        except httptools.HttpParserInvalidMethodError:
            self._refuse(wire.refusal_of_method(data))
        except httptools.HttpParserError:
            # Bytes after a request that closes the connection are no fault of that request.
            if not (self._asked and not self._asked[-1].keep_alive):
                self._refuse(text(400, "this is not a request in HTTP/1.1"))
        if self._in_head:
            self._fed += len(data)
            if self._fed > self._limits.head:
                self._refuse(wire.HEAD_TOO_LARGE)
        asked, self._asked = self._asked, []
        return asked

    def expire(self) -> list[Asked]:
        """Return the refusal of a request that has not become whole in time."""
        self._refuse(text(408, "the request took too long"))
        asked, self._asked = self._asked, []
        return asked

    # What the parser finds, in its order.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.reading = self._in_head = True
        self.asks_to_continue = False
        self._url, self._headers = b"", []
        self._head_size = self._body_size = self._fed = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        if len(self._url) + len(url) > self._limits.line:
            self._refuse(wire.LINE_TOO_LONG)
        else:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._head_size += len(name) + len(value)
        if len(self._headers) >= self._limits.headers or self._head_size > self._limits.head:
            self._refuse(wire.HEAD_TOO_LARGE)
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the head as a whole."""
        self._in_head = False
        version = self._parser.get_http_version()
        refusal = wire.refusal_of_head(version, self._headers, self._limits.body)
        if refusal is not None:
            self._refuse(refusal)
        else:
            self.asks_to_continue = wire.asks_to_continue(self._headers)

    def on_body(self, body: bytes) -> None:
        """Count the body, which nobody needs."""
        self.asks_to_continue = False
        self._body_size += len(body)
        if self._body_size > self._limits.body:
            self._refuse(wire.BODY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """Take the request as a whole."""
        self.reading = self.asks_to_continue = False
        if self.ended:
            return
        if len(self._asked) >= self._limits.pipeline:
            self._refuse(text(400, "too many requests were sent ahead of their answers"))
            return
        method = self._parser.get_method().decode("ascii")
        path, query = wire.target(self._url)
        request = Request(method, path, query, wire.headers(self._headers), self._address, self._drop)
        old = self._parser.get_http_version() == "1.0"
        self._asked.append(Asked(request, self._parser.should_keep_alive(), old))

    def _refuse(self, response: Response) -> None:
        if not self.ended:
            self.ended = True
            self._asked.append(Asked(response))
