"""From bytes to requests."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.http import Reader, Request
from exporter.web.limits import Limits

SMALL = Limits(line=64, head=256, headers=4, body=32)
PIECES = st.sampled_from(
    [
        *(b"GET ", b"HEAD ", b"POST ", b"BREW ", b"/metrics", b"/%6detrics?tenant=a", b"*", b"http://h/p?q", b"#x"),
        *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"Host: h\r\n", b"\r\n", b"X: y\r\n", b"\n", b"\x00"),
        *(b"Content-Length: 3\r\n", b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b"abc", b"0\r\n\r\n"),
        *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"a" * 80),
    ]
)


def read(limits: Limits, *segments: bytes) -> list[Request]:
    """Return what a new reader finds in these segments, up to its first refusal."""
    reader = Reader(limits)
    found: list[Request] = []
    for segment in segments:
        reader.feed(segment)
        while (one := reader.next()) is not None:
            found.append(one)
            if not one.keep_alive:
                return found
    return found


def statuses(found: list[Request]) -> list[int]:
    """Return 0 for each request and the status of each refusal."""
    return [one.refusal.status if one.refusal is not None else 0 for one in found]


def test_a_request_is_read_as_it_came() -> None:
    """Method, decoded path, query and joined headers arrive."""
    (request,) = read(
        Limits(), b"GET /a%20b?c=%20#d HTTP/1.1\r\nHost: h\r\nAccept: x\r\nACCEPT: y\r\nX-Bytes: \xe9\r\n\r\n"
    )
    headers = {"host": "h", "accept": "x, y", "x-bytes": "é"}
    assert request == Request("GET", "/a b", "c=%20", headers, keep_alive=True, old=False)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://h:1/metrics?x", "/metrics", "x"),
        (b"http://h:1", "/", ""),
        (b"http://h?tenant=a/metrics", "/", "tenant=a/metrics"),
        (b"http://h/metrics?to=http://i/j", "/metrics", "to=http://i/j"),
        (b"/a://h/b", "/a://h/b", ""),
    ],
)
def test_an_absolute_target_is_understood(target: bytes, path: str, query: str) -> None:
    """What a proxy would be asked is answered too: its host ends at the path or, without one, at the query."""
    (request,) = read(Limits(), b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % target)
    assert request.refusal is None
    assert (request.path, request.query) == (path, query)


def test_no_leave_is_given_to_http_1_0() -> None:
    """HTTP/1.0 has no 100 Continue: its expectation is ignored (RFC 9110, section 10.1.1)."""
    for version, expected in ((b"1.0", False), (b"1.1", True)):
        reader = Reader(Limits())
        reader.feed(b"POST / HTTP/%s\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" % version)
        assert reader.next() is None
        assert reader.take_expectation() is expected


def test_empty_lines_begin_no_request() -> None:
    """A client that ends its request with an empty line too many is idle after it, not late with the next."""
    reader = Reader(Limits())
    reader.feed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n")
    request = reader.next()
    assert request is not None
    assert request.refusal is None
    assert reader.next() is None
    assert not reader.reading
    assert reader.expire() is None
    reader.feed(b"G")
    assert reader.reading


@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 400), max_size=6))
def test_how_bytes_are_cut_changes_no_request(data: bytes, cuts: list[int]) -> None:
    """The same requests and refusals are found wherever the network cuts the bytes."""
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for limits in (Limits(), SMALL):
        assert read(limits, *(data[a:b] for a, b in pairwise(edges))) == read(limits, data)


@given(st.binary(max_size=600), st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_can_be_read(first: bytes, more: list[bytes]) -> None:
    """Any bytes end in requests, refusals or waiting; a refusal is the last of all."""
    found = statuses(read(SMALL, first, *more))
    assert all(status == 0 for status in found[:-1])


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_likely_bytes_can_be_read(data: bytes) -> None:
    """Almost-requests end in requests, refusals or waiting; a refusal is the last of all."""
    found = statuses(read(SMALL, data))
    assert all(status == 0 for status in found[:-1])


def test_what_follows_a_body_in_chunks_does_no_harm() -> None:
    """After its last chunk nothing belongs to a request any more, and its trailers are no headers."""
    head = b"GET /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"", b"#x", b"\x00", b"GET / HTTP/1.1\r\n"):
        (request,) = read(Limits(), head + b"3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n" + rest)
        assert request.refusal is None
        assert "authorization" not in request.headers
        assert not request.keep_alive
