"""One request and its answer: limits, compression, counting, and what is said of answers that are none."""

from __future__ import annotations

import gzip
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, cast

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import NetworkError, ReportError, ServerError
from exporter.http import MAX_BODY, Answer, Clients, Deadline, retry_after, tls_context
from tests.http.leaks import assert_clean, said
from tests.http.servers import answering, certificate, serving

if TYPE_CHECKING:
    import socket
    import ssl

NOON = 1_790_000_000.0
HEAD = b"HTTP/1.1 200 OK\r\n"


class Asked:
    """What came of one request to a server with this answer."""

    def __init__(self, answer: bytes) -> None:
        self.counted: list[tuple[str, str]] = []
        clients = Clients(count=lambda *counted: self.counted.append(counted))
        self.error: Exception | None = None
        with serving(answering(answer)) as port:
            url = f"http://localhost:{port}/report?sig=hush"
            try:
                self.answer = clients.request("GET", url, endpoint="download", deadline=Deadline(10))
            except (NetworkError, ReportError, ServerError) as error:
                said(error)
                self.error = error
        clients.close()


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip", b"GZIP"])
def test_a_compressed_answer_is_decompressed(encoding: bytes) -> None:
    """Gzip, the one encoding that is asked for, is undone."""
    body = gzip.compress(b"report")
    asked = Asked(HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (encoding, len(body), body))
    assert asked.answer.body == b"report"
    assert asked.answer.text == "report"
    assert asked.counted == [("download", "200")]


def test_every_member_of_a_gzip_answer_is_read() -> None:
    """A body of several gzip members is read to its end."""
    asked = Asked(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"rep") + gzip.compress(b"ort"))
    assert asked.answer.body == b"report"


@pytest.mark.parametrize(
    ("framing", "measured"),
    [
        (b"Content-Length: 6\r\n\r\nreport", True),
        (b"Transfer-Encoding: chunked\r\n\r\n6\r\nreport\r\n0\r\n\r\n", True),
        (b"\r\nreport", False),
        (b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"report"), False),
    ],
    ids=["length", "chunked", "until the end", "gzip until the end"],
)
def test_an_answer_tells_whether_it_said_where_it_ends(framing: bytes, *, measured: bool) -> None:
    """Only a body that ends with its connection is not measured."""
    asked = Asked(HEAD + framing)
    assert (asked.answer.body, asked.answer.measured) == (b"report", measured)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_connection_that_ends_without_close_notify_was_cut(*, keep_alive: bool) -> None:
    """Under TLS, a body that ends with its connection counts only if TLS itself said that it ends."""
    authority = trustme.CA()
    trust = tls_context()
    authority.configure_trust(trust)
    polite = False

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(HEAD + b"\r\n12345")
        if polite:
            cast("ssl.SSLSocket", connection).unwrap()

    clients = Clients(tls=trust)
    with serving(handle, certificate(authority, "localhost")) as port:

        def ask() -> Answer:
            url = f"https://localhost:{port}/"
            headers = {} if keep_alive else {"Connection": "close"}
            return clients.request("GET", url, endpoint="graph", deadline=Deadline(10), headers=headers)

        with pytest.raises(NetworkError, match="the connection broke"):
            ask()
        polite = True
        assert ask().body == b"12345"
    clients.close()


@pytest.mark.parametrize("late", [False, True], ids=["with the answer", "after it"])
def test_bytes_that_nobody_asked_for_are_no_answer(*, late: bool) -> None:
    """What a kept connection holds behind an answer never becomes the next one."""
    met: list[int] = []
    sent = threading.Event()

    def handle(connection: socket.socket) -> None:
        met.append(1)
        first, stray = HEAD + b"Content-Length: 2\r\n\r\nok", HEAD + b"Content-Length: 5\r\n\r\nstray"
        connection.recv(65536)
        if len(met) > 1:
            connection.sendall(first)
            return
        connection.sendall(first if late else first + stray)
        if late:
            answered.wait(10)
            connection.sendall(stray)
            sent.set()
        connection.recv(65536)

    answered = threading.Event()
    clients = Clients()
    with serving(handle) as port:

        def ask() -> bytes:
            url = f"http://localhost:{port}/"
            return clients.request("GET", url, endpoint="graph", deadline=Deadline(10)).body

        if late:
            assert ask() == b"ok"
            answered.set()
            assert sent.wait(10)
        else:
            with pytest.raises(NetworkError, match="is not valid HTTP"):
                ask()
        assert ask() == b"ok"
        assert len(met) == 2
        clients.close()


@pytest.mark.parametrize("status", [200, 302, 429, 503])
def test_bytes_behind_an_answer_that_cannot_be_read_are_no_answer(status: int) -> None:
    """A kept connection whose answer was refused, or whose body did not matter, hands on nothing that follows it."""
    half = gzip.compress(b"report")[:-3]
    stray = HEAD + b"Content-Length: 5\r\n\r\nstray"
    head = b"HTTP/1.1 %d X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (status, len(half))
    answers = iter([head + half + stray, HEAD + b"Content-Length: 2\r\n\r\nok"])

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(next(answers, b""))
        connection.recv(65536)

    clients = Clients()
    with serving(handle) as port:

        def ask() -> Answer:
            url = f"http://localhost:{port}/"
            return clients.request("GET", url, endpoint="graph", deadline=Deadline(10))

        if status == httpx.codes.OK:
            with pytest.raises(NetworkError, match="gzip ends too early"):
                ask()
        else:
            assert ask().status_code == status
        assert ask().body == b"ok"
        clients.close()


@pytest.mark.parametrize(
    ("rest", "kind", "message"),
    [
        (b"Content-Encoding: br\r\n\r\nx", ServerError, "compressed in a way that was not requested"),
        (b"Content-Encoding: gzip\r\n\r\nno gzip", NetworkError, "the answer's gzip is broken"),
        (
            b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"report" * 9)[:-9],
            NetworkError,
            "the answer's gzip ends too early",
        ),
        (
            b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(MAX_BODY + 1)),
            ReportError,
            "larger than 2 MiB decompressed",
        ),
        (
            b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"report") + b"rubbish",
            NetworkError,
            "the answer's gzip is broken",
        ),
        (
            b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"report") + gzip.compress(b"more")[:12],
            NetworkError,
            "the answer's gzip ends too early",
        ),
        (b"Content-Length: 6\r\n\r\nreport and more", NetworkError, "its answer is not valid HTTP"),
        (b"Content-Length: 9\r\n\r\nshort", NetworkError, "the connection broke: peer closed connection"),
        (b"Location hush\r\n\r\n", NetworkError, "its answer is not valid HTTP"),
        (b"Location: https://x/?sig=hush\x00\r\n\r\n", NetworkError, "its answer is not valid HTTP"),
    ],
    ids=[
        "encoding",
        "no gzip",
        "half a gzip",
        "bomb",
        "rubbish",
        "half a member",
        "surplus",
        "cut",
        "no header",
        "bad header",
    ],
)
def test_an_answer_that_is_none_says_why(rest: bytes, kind: type[Exception], message: str) -> None:
    """Each broken answer is its own error, counted as one, and quotes nothing of what came."""
    asked = Asked(HEAD + rest)
    assert type(asked.error) is kind
    assert message in str(asked.error)
    assert asked.counted == [("download", "error")]


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Encoding: br\r\n\r\nx",
        b"Content-Encoding: gzip\r\n\r\nno gzip",
        b"\r\n" + b"x" * (MAX_BODY + 1),
        b"Content-Length: 6\r\n\r\nreport and more",
        b"Content-Length: 9\r\n\r\nshort",
    ],
    ids=["encoding", "no gzip", "endless", "surplus", "cut"],
)
def test_of_a_refusal_the_status_counts(rest: bytes) -> None:
    """A 429 whose body cannot be read is a 429, with its Retry-After, and no failure of the network."""
    asked = Asked(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\n" + rest)
    assert asked.error is None
    assert (asked.answer.status_code, asked.answer.headers["retry-after"], asked.answer.body) == (429, "600", b"")
    assert asked.counted == [("download", "429")]


def test_silence_and_nonsense_in_place_of_an_answer() -> None:
    """A connection that ends before the answer, or speaks another language, is a network failure."""
    assert "the connection broke: Server disconnected" in str(Asked(b"").error)
    assert "is not valid HTTP" in str(Asked(b"220 hush ESMTP\r\n\r\n").error)


@pytest.mark.parametrize("url", ["https://", "https://[/", "no address", "https://localhost:99999/", "https://\x01/"])
def test_an_address_that_is_none_is_a_network_failure(url: str) -> None:
    """Whatever is in an address that came from outside, asking it raises nothing unforeseen."""
    with pytest.raises(NetworkError) as caught:
        Clients().request("GET", url, endpoint="graph", deadline=Deadline(1))
    assert said(caught.value).startswith("graph host ")


def test_a_connection_is_kept_for_the_next_request_of_the_thread() -> None:
    """Two requests of one thread share a connection, those of another have their own; `close` ends all."""
    met: list[int] = []

    def handle(connection: socket.socket) -> None:
        met.append(1)
        while connection.recv(65536):
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")

    clients = Clients()
    with serving(handle) as port:

        def ask() -> None:
            clients.request("GET", f"http://localhost:{port}/", endpoint="graph", deadline=Deadline(10))

        ask()
        ask()
        assert len(met) == 1
        other = threading.Thread(target=ask)
        other.start()
        other.join()
        assert len(met) == 2
        clients.close()
        ask()
        assert len(met) == 3
        clients.close()


def test_an_answer_hides_what_it_holds() -> None:
    """The repr of an answer shows neither a Location nor a body."""
    assert_clean(repr(Answer(302, httpx.Headers({"Location": "https://x/?sig=hush"}), b"hush")))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 300),
        ("", 300),
        ("0", 0),
        ("17", 17),
        (" 600 ", 600),
        ("99999999999999999999", 86400),
        ("0000000000017", 17),
        ("-5", 300),
        ("soon", 300),
        ("1.5", 300),
        ("\u0661\u0667", 300),  # digits, but not ours
        (format_datetime(datetime.fromtimestamp(NOON + 90, UTC), usegmt=True), 90),
        (format_datetime(datetime.fromtimestamp(NOON - 90, UTC), usegmt=True), 0),
        ("Mon, 01 Jan 9999 00:00:00 GMT", 86400),
        ("Mon, 99 Jan 2026 00:00:00 GMT", 300),
    ],
)
def test_how_long_to_wait(value: str | None, seconds: float) -> None:
    """Retry-After is read as seconds or as a date, held to a day, and 300 s where it says nothing sensible."""
    headers = {} if value is None else {"retry-after": value}
    assert retry_after(headers, NOON) == seconds


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"])
def test_every_form_of_a_date_is_in_utc(zone: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the three forms of RFC 9110, asctime's names no zone: it is UTC too, wherever the exporter runs."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        value = datetime.fromtimestamp(NOON + 90, UTC).strftime(form)
        assert retry_after({"retry-after": value}, NOON) == 90
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_no_retry_after_breaks_a_poll(value: str) -> None:
    """Whatever Retry-After says, the wait is between nothing and a day."""
    assert 0 <= retry_after({"retry-after": value}, NOON) <= 86400
