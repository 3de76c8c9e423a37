"""From bytes to requests."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.limits import Limits
from exporter.web.message import Request, Response
from exporter.web.reader import Asked, Reader

SMALL = Limits(line=64, head=256, headers=4, body=32, pipeline=3)
PIECES = st.sampled_from(
    [
        *(b"GET ", b"HEAD ", b"POST ", b"BREW ", b"/metrics", b"/%6detrics?tenant=a", b"*", b"http://h/p?q", b"#x"),
        *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"Host: h\r\n", b"\r\n", b"X: y\r\n", b"\n", b"\x00"),
        *(b"Content-Length: 3\r\n", b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b"abc", b"0\r\n\r\n"),
        *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"a" * 80),
    ]
)


def read(limits: Limits, *chunks: bytes) -> list[Asked]:
    """Feed chunks to a new reader."""
    reader = Reader(limits, "192.0.2.1", lambda: None)
    return [asked for chunk in chunks for asked in reader.feed(chunk)]


def statuses(asked: list[Asked]) -> list[int]:
    """Return 0 for each request and the status of each refusal."""
    return [one.what.status if isinstance(one.what, Response) else 0 for one in asked]


def test_a_request_is_read_as_it_came() -> None:
    """Method, decoded path, query, joined headers and address arrive."""
    (asked,) = read(
        Limits(), b"GET /a%20b?c=%20#d HTTP/1.1\r\nHost: h\r\nAccept: x\r\nACCEPT: y\r\nX-Bytes: \xe9\r\n\r\n"
    )
    assert isinstance(asked.what, Request)
    assert asked.what[:5] == (
        "GET",
        "/a b",
        "c=%20",
        {"host": "h", "accept": "x, y", "x-bytes": "é"},
        "192.0.2.1",
    )
    assert asked.keep_alive


def test_an_absolute_target_is_understood() -> None:
    """What a proxy would be asked is answered too."""
    (asked,) = read(Limits(), b"GET http://h:1/metrics?x HTTP/1.1\r\nHost: h\r\n\r\n")
    assert isinstance(asked.what, Request)
    assert asked.what[1:3] == ("/metrics", "x")


@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 400), max_size=6))
def test_how_bytes_are_cut_changes_no_request(data: bytes, cuts: list[int]) -> None:
    """The same requests are found wherever the network cuts the bytes, and nothing is raised."""
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    whole = read(Limits(), data)
    parts = read(Limits(), *(data[a:b] for a, b in pairwise(edges)))
    requests = [one.what[:4] for one in whole if isinstance(one.what, Request)]
    assert [one.what[:4] for one in parts if isinstance(one.what, Request)] == requests


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
