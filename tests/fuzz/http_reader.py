"""The HTTP reader: whatever bytes come, cut anywhere; and what h11, another parser, makes of the same bytes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import h11
from hypothesis import strategies as st

from exporter.web.http import Reader, Request
from exporter.web.limits import Limits

_LIMITS = Limits(line=200, head=400, headers=6, body=60)

_PIECES = st.sampled_from([
    b"GET ", b"HEAD ", b"POST ", b"BREW ", b"/metrics", b"/%6d?tenant=a", b"*", b"http://h/p?q", b"#x", b" ", b"\t",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b" RTSP/1.0\r\n", b"Host: h\r\n", b"Host: a b\r\n", b"\r\n",
    b"X: y\r\n", b"X : y\r\n", b" folded\r\n", b"\n", b"\r", b"\x00", b"\xff", b":", b"Content-Length: 3\r\n",
    b"Content-Length: 99\r\n", b"Content-Length: +3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"a" * 90,
])  # fmt: skip
_LIKELY = st.lists(
    st.sampled_from([b"Host: h\r\n", b"X: y\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"])
    | _PIECES,
    max_size=5,
).map(lambda headers: b"GET /metrics HTTP/1.1\r\n" + b"".join(headers) + b"\r\n")
BYTES = st.tuples(
    st.lists(_PIECES, max_size=12).map(b"".join)
    | st.tuples(_LIKELY, st.lists(_PIECES, max_size=4).map(b"".join)).map(b"".join)
    | st.binary(max_size=60),
    st.lists(st.integers(0, 300), max_size=4),
)


class Difference(NamedTuple):
    """Something that this reader and h11 judge differently.

    Attributes:
        ours: what becomes of it here: a request, a refusal, or nothing yet.
        theirs: what h11 makes of it.
        what: where it is found in the bytes.
        why: the reason.
    """

    ours: str
    theirs: str
    what: str
    why: str


DIFFERENCES = (
    Difference("refusal", "nothing", "", "what cannot become a request is refused before its head is whole"),
    Difference(
        "nothing", "refusal", r"^\r", "empty lines before a request are skipped, and an empty line may be half there"
    ),
    Difference(
        "nothing",
        "",
        r"[^\r]\n\r?\n|\n\n",
        "a head ends by two CR LF: with less the client is refused when its time is over",
    ),
    Difference("refusal", "request", r"[^\r]\n", "a line ends by CR LF: a lone LF is how requests are smuggled"),
    Difference("refusal", "request", r"\r\n[ \t]", "a folded header is obsolete (RFC 9112, section 5.2)"),
    Difference("refusal 400", "request", r"\r\nHost: a b", "h11 leaves the value of Host to others"),
    Difference(
        "refusal 400", "request", r"(?s)Content-Length.*Content-Length", "a length that stands twice is a mistake"
    ),
    Difference(
        "refusal 400", "request", r"(?s)Content-Length.*Transfer-Encoding", "two kinds of framing are a mistake"
    ),
    Difference(
        "refusal 400", "request", r"(?s)Transfer-Encoding.*Content-Length", "two kinds of framing are a mistake"
    ),
    Difference("refusal 400", "request", r"(?s) HTTP/1\.0.*Transfer-Encoding", "HTTP/1.0 has no transfer codings"),
    Difference("request", "", r"Upgrade: h2c", "who wants another protocol is answered at once, and the last time"),
    Difference("refusal 405", "request BREW", "", "no endpoint has a method that the parser does not know"),
)


def check(case: tuple[bytes, list[int]]) -> None:
    """Read bytes whole and cut: the same requests and refusals; and the first is h11's too, or a known difference."""
    data, cuts = case
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    whole = _read(_LIMITS, data)
    assert _read(_LIMITS, *(data[start:end] for start, end in pairwise(edges))) == whole
    assert all(one.refusal is None for one in whole[:-1])
    ours, theirs = _kind(_read(Limits(), data)), _by_h11(data)
    assert ours.startswith(theirs) or any(_explains(one, ours, theirs, data) for one in DIFFERENCES), (
        data,
        ours,
        theirs,
    )


def _read(limits: Limits, *segments: bytes) -> list[Request]:
    reader, found = Reader(limits), list[Request]()
    for segment in segments:
        reader.feed(segment)
        while (one := reader.next()) is not None:
            found.append(one)
            if not one.keep_alive:
                return found
    return found


def _kind(found: list[Request]) -> str:
    if not found:
        return "nothing"
    first = found[0]
    return f"refusal {first.refusal.status}" if first.refusal is not None else f"request {first.method}"


def _by_h11(data: bytes) -> str:
    """Return what h11 makes of the first request."""
    if not data:
        return "nothing"  # to h11 it would be the end of the connection
    connection = h11.Connection(h11.SERVER)
    method = ""
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method = event.method.decode()
            elif isinstance(event, h11.EndOfMessage):
                return f"request {method}"
            elif event in (h11.NEED_DATA, h11.PAUSED):
                return "nothing"
    except h11.RemoteProtocolError:
        return "refusal"


def _explains(one: Difference, ours: str, theirs: str, data: bytes) -> bool:
    text = data.decode("latin-1")
    return ours.startswith(one.ours) and theirs.startswith(one.theirs) and re.search(one.what, text) is not None
