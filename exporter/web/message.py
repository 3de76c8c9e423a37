"""Requests and responses, as the endpoints see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    Handler = Callable[["Request"], "Response | Awaitable[Response]"]

PLAIN = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """One request; its body has been read and forgotten, since no endpoint has a use for one.

    Attributes:
        method: in upper case, as it came.
        path: with percent-escapes decoded, nothing else touched.
        query: what stood behind the question mark, as it came.
        headers: by name in lower case; the values of a repeated one are joined by a comma.
        address: the client's IP address; empty on a Unix socket.
        drop: cuts the connection at once, whatever is still to be sent.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    address: str
    drop: Callable[[], None]


def _nothing() -> None:
    pass


class Response(NamedTuple):
    """One response.

    Attributes:
        status: the HTTP status code.
        headers: name and value; length, date and connection are added on sending.
        body: in pieces, which are sent as they are.
        done: called once, when the last piece is on its way or the connection is lost.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: Sequence[bytes] = ()
    done: Callable[[], None] = _nothing

    def with_headers(self, headers: tuple[tuple[str, str], ...]) -> Response:
        """Return this response with `headers` set, each in place of its namesake."""
        if not headers:
            return self
        names = {name.lower() for name, _ in headers}
        kept = tuple(header for header in self.headers if header[0].lower() not in names)
        return self._replace(headers=(*kept, *headers))


def text(status: int, sentence: str, *headers: tuple[str, str]) -> Response:
    """Return a response for people: one line of plain text."""
    fixed = (("Content-Type", PLAIN), ("X-Content-Type-Options", "nosniff"))
    return Response(status, (*fixed, *headers), (sentence.encode("utf-8", "replace") + b"\n",))
