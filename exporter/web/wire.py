"""The pure parts of HTTP/1.1: what a request's head says and what a response's head and body look like as bytes."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

from exporter.web.message import Response, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LINE_TOO_LONG = text(414, "the request's line is too long")
HEAD_TOO_LARGE = text(431, "the request's head is too large")
BODY_TOO_LARGE = text(413, "the request's body is too large: nothing here needs one")

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode("ascii") for s in HTTPStatus}
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r?\n")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_CHUNK = 1024 * 1024
"""Bytes handed to a transport at once: enough that a large body needs few rounds of the loop, little enough that none
of them takes long. Encrypting is slower than copying, so TLS gets smaller ones."""
_CHUNK_TLS = 128 * 1024


def refusal_of_method(data: bytes) -> Response:
    """Return the answer to a method that the parser does not know: 405, or 400 if this is no request at all."""
    if _REQUEST_LINE.match(data):
        return text(405, "this method is not known here", ("Allow", "GET, HEAD"))
    return text(400, "this is not a request in HTTP/1.1")


def refusal_of_head(version: str, headers: Sequence[tuple[bytes, bytes]], limit: int) -> Response | None:
    """Return the answer to a head that may not stand (RFC 9112, sections 2.3 and 3.2), None if it may.

    Args:
        version: the HTTP version of the request.
        headers: as they came.
        limit: of the body, bytes.
    """
    if version not in ("1.1", "1.0"):
        return text(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    hosts = length = 0
    for name, value in headers:
        lower = name.lower()
        hosts += lower == b"host"
        if lower == b"content-length" and value.isdigit():
            length = int(value)
    if hosts > 1 or (version == "1.1" and not hosts):
        return text(400, "a request needs exactly one Host header")
    return BODY_TOO_LARGE if length > limit else None


def asks_to_continue(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Say whether the client waits for leave to send its body."""
    return any(name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name in lower case, the values of a repeated one joined by a comma."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key, content = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {content}" if key in found else content
    return found


def target(url: bytes) -> tuple[str, str]:
    """Return path and query of a request's target, in origin form or (as to a proxy) in absolute form."""
    line = url.decode("latin-1")
    if not line.startswith("/"):
        _, scheme, rest = line.partition("://")
        line = "/" + rest.partition("/")[2] if scheme else line
    path, _, query = line.partition("#")[0].partition("?")
    return (unquote(path) if "%" in path else path), query


def head(response: Response, *, keep_alive: bool, old: bool) -> bytes:
    """Return the response's head.

    Args:
        response: its body's pieces make up the length, also for HEAD.
        keep_alive: whether the connection stays open.
        old: whether the client speaks HTTP/1.0, which wants to be told that it does.
    """
    lines = [_STATUS_LINES[response.status], date(int(time.time()))]
    lines += [f"{name}: {value}\r\n".encode("utf-8", "replace") for name, value in response.headers]
    if not keep_alive:
        lines.append(b"Connection: close\r\n")
    elif old:
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"Content-Length: %d\r\n\r\n" % sum(map(len, response.body)))
    return b"".join(lines)


@lru_cache(maxsize=2)
def date(now: int) -> bytes:
    """Return the Date header (RFC 9110, section 5.6.7) of Unix second `now`."""
    t = time.gmtime(now)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return f"Date: {day}, {t.tm_mday:02} {month} {t.tm_year:04} {clock} GMT\r\n".encode("ascii")


def chunks(head: bytes, body: Sequence[bytes], *, tls: bool) -> Iterator[bytes | memoryview]:
    """Yield head and body in chunks fit to be written at once: small pieces are joined, large ones are cut."""
    size = _CHUNK_TLS if tls else _CHUNK
    gathered, length = [head], len(head)
    for piece in body:
        if length + len(piece) > size:
            yield b"".join(gathered)
            gathered, length = [], 0
        if len(piece) > size:
            view = memoryview(piece)
            yield from (view[start : start + size] for start in range(0, len(piece), size))
        else:
            gathered.append(piece)
            length += len(piece)
    if gathered:
        yield b"".join(gathered)
