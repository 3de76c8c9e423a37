"""HTTP/1.1 over real sockets: what is answered, refused, and waited for."""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from tests.statuses import reported
from tests.statuses import status as make_status
from tests.web.serving import BODY, Fake, drain, drain_until_reset, exchange, running, status, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.serving import Running

GET = b"GET /metrics HTTP/1.1\r\nHost: h\r\n"
_FIN_WAIT_2 = 5
"""A state of tcp(7): the other end's kernel knows that this half is closed."""
LAST = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """One server for many requests."""
    with running() as one:
        yield one


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\n" + LAST, 200),
        (b"GET /%6detrics HTTP/1.1\r\nHost: h\r\n" + LAST, 200),
        (b"GET http://x/metrics HTTP/1.1\r\nHost: h\r\n" + LAST, 200),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (b"\r\n\r\nGET /metrics HTTP/1.1\r\nHost: h\r\n" + LAST, 200),
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n" + LAST + b"abc", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + LAST + b"1\r\na\r\n0\r\n\r\n", 200),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET + LAST, 200),
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n", 200),
        (b"GET /../metrics HTTP/1.1\r\nHost: h\r\n" + LAST, 404),
        (b"GET //metrics HTTP/1.1\r\nHost: h\r\n" + LAST, 404),
        (b"GET /metrics/ HTTP/1.1\r\nHost: h\r\n" + LAST, 404),
        (b"GET /metrics%00 HTTP/1.1\r\nHost: h\r\n" + LAST, 404),
        (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n" + LAST, 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n" + LAST, 404),
        (b"DELETE /metrics HTTP/1.1\r\nHost: h\r\n" + LAST, 405),
        (b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + LAST, 405),
        (b"BREW /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"get /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\nX: \x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\nHost: h\n\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        (b"GET / RTSP/1.0\r\nHost: h\r\n\r\n", 400),
        (b"SOURCE / ICE/1.0\r\nHost: h\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"GET /metrics HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        *(
            (GET.replace(b": h", b": " + host) + LAST, 400)
            for host in (b"a b", b"a/b", b"u@h", b"h:x", b"[::1", b"h, i")
        ),
        *(
            (GET.replace(b": h", b": " + host) + LAST, 200)
            for host in (b"", b"h:9365", b"[::1]:1", b"a_b.example", b"%C3")
        ),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        (b"GET /metrics HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 70_000, 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 12_000, 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 70_000, 413),
        (b"\r\n" * 9 + b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n" + b"a" * 0x11000, 413),
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET /" + b"a" * 3_000_000, 414),
        (GET + b"X: " + b"a" * 33_000 + b"\r\n\r\n", 431),
        (GET + b"X: " + b"a" * 3_000_000, 431),
        (GET + b"X: y\r\n" * 100 + b"\r\n", 431),
        (GET + b"X: y\r\n" * 300_000, 431),
    ],
)
def test_one_request(server: Running, sent: bytes, expected: int) -> None:
    """Each request gets its status, after which the connection is closed and the answer can be read whole."""
    with server.connect() as sock:
        answer = exchange(sock, sent)
    assert status(answer) == expected
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert b"\r\nserver:" not in head.lower()
    assert (b"Allow: GET, HEAD" in head) == (expected == 405)


def test_an_answer_has_its_headers(server: Running) -> None:
    """Type, length, date and the headers that were negotiated by stand in the answer, and nothing else."""
    with server.connect() as sock:
        head = exchange(sock, GET + LAST).partition(b"\r\n\r\n")[0].decode()
    lines = head.split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert re.match(r"Date: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$", lines[1])
    assert lines[2:] == [
        "Content-Type: text/plain; version=0.0.4; charset=utf-8",
        "Vary: Accept, Accept-Encoding",
        "Connection: close",
        f"Content-Length: {len(BODY)}",
    ]


def test_head_is_get_without_body(server: Running) -> None:
    """HEAD gets the same headers as GET without a body, and the connection is kept open."""
    with httpx.Client(base_url=server.url) as client:
        for path in ("/metrics", "/", "/-/healthy", "/nowhere"):
            got, head = client.get(path), client.head(path)
            assert head.content == b""
            assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
            assert head.status_code == got.status_code


def test_a_connection_is_used_again(server: Running) -> None:
    """HTTP/1.1 keeps the connection, HTTP/1.0 if it is asked to."""
    with server.connect() as sock:
        for version in (b"1.1", b"1.0"):
            for _ in range(3):
                sock.sendall(b"GET /metrics HTTP/%s\r\nHost: h\r\nConnection: keep-alive\r\n\r\n" % version)
                answer = b""
                while not answer.endswith(BODY):
                    answer += sock.recv(65536)
                assert (b"Connection: keep-alive" in answer) == (version == b"1.0")


def test_requests_sent_ahead_are_answered_in_order(server: Running) -> None:
    """Pipelined requests, slow ones among them, are answered in their order."""
    paths = [b"/-/healthy", b"/api/v1/status", b"/nowhere", b"/", b"/metrics", b"/-/ready"]
    sent = b"".join(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path for path in paths)
    with server.connect() as sock:
        answer = exchange(sock, sent + b"GET /nowhere HTTP/1.1\r\nHost: h\r\n" + LAST)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"404", b"200", b"200", b"200", b"404"]


def test_many_requests_sent_ahead_keep_nobody_waiting(server: Running) -> None:
    """A flood of pipelined requests is answered whole and in order; who asks meanwhile is answered meanwhile."""
    flood = b"GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n" * 3000 + b"GET /nowhere HTTP/1.1\r\nHost: h\r\n" + LAST
    with server.connect() as sock, server.connect() as other:
        sock.sendall(flood)
        assert status(exchange(other, GET + LAST)) == 200
        codes = re.findall(rb"HTTP/1.1 (\d+)", drain(sock))
    assert codes == [b"200"] * 3000 + [b"404"]


def test_bytes_after_the_last_request_do_no_harm(server: Running) -> None:
    """Whatever follows a request that closes the connection, its answer arrives."""
    with server.connect() as sock:
        assert status(exchange(sock, GET + LAST + b"garbage")) == 200


def test_a_client_may_close_its_half(server: Running) -> None:
    """A client that has said all it wants still gets its answer, at once or later."""
    for path in (b"/metrics", b"/api/v1/status"):
        with server.connect() as sock:
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            sock.shutdown(socket.SHUT_WR)
            assert status(drain(sock)) == 200


def test_a_body_may_wait_for_leave(server: Running) -> None:
    """`Expect: 100-continue` gets its leave, once, and the request its answer."""
    with server.connect() as sock:
        sock.sendall(b"POST /-/reload HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n" + LAST)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert status(exchange(sock, b"ab")) == 403


def test_an_endless_body_is_cut(server: Running) -> None:
    """A client that never stops sending is refused and then cut."""
    with server.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises(OSError, match=r".*"):  # noqa: PT012 - one of many sends fails
            while sent < 500_000_000:
                sock.sendall(b"1000\r\n" + b"a" * 4096 + b"\r\n")
                sent += 4096


def test_a_large_body_arrives_whole() -> None:
    """Forty megabytes in many pieces and in one arrive byte by byte, to slow readers too."""
    pieces = (*(b"%d," % i * 1000 for i in range(3000)), bytes(range(256)) * 100_000)
    with running(Fake(pieces)) as server:
        for pause in (0.0, 0.0005):
            with server.connect() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                sock.sendall(GET + LAST)
                got = []
                while chunk := sock.recv(262_144):
                    got.append(chunk)
                    time.sleep(pause)
                assert b"".join(got).partition(b"\r\n\r\n")[2] == b"".join(pieces)


def test_a_client_may_close_its_half_while_it_reads() -> None:
    """A client that closes its half after the response was written, and reads on, gets all of it."""
    body = bytes(range(256)) * 1_500
    with running(Fake((body,))) as server, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(GET + b"\r\n")
        got = sock.recv(1_000)
        sock.shutdown(socket.SHUT_WR)
        until(lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _FIN_WAIT_2)
        got += drain(sock)
    assert got.partition(b"\r\n\r\n")[2] == body


def test_slow_clients_are_cut() -> None:
    """Who sends nothing, half a request (which gets 408) or drop after drop, or reads no answer, is cut."""
    with running(Fake((b"a" * 50_000_000,)), request=0.5, response=0.5, linger=0.2) as server:
        silent, half, body, unread = (server.connect() for _ in range(4))
        half.sendall(b"GET /metrics HTTP/1.1\r\nHo")
        body.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab")
        unread.sendall(GET + b"\r\n")
        dripping = server.connect()
        with pytest.raises(OSError, match=r".*"):  # noqa: PT012 - one of many sends fails
            for drop in b"GET /metrics HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 10_000:
                dripping.sendall(bytes((drop,)))
                time.sleep(0.01)
        assert drain(silent) == b""
        assert status(drain(half)) == 408
        assert status(drain(body)) == 408
        time.sleep(1)
        assert len(drain_until_reset(unread)) < 50_000_000
        for sock in (silent, half, body, unread, dripping):
            sock.close()


def test_idle_connections_are_closed() -> None:
    """A connection without a next request is closed when its time is over, and not before."""
    with running(idle=3.0, request=0.2) as server, server.connect() as sock:
        sock.sendall(GET + b"\r\n")
        assert sock.recv(65536).endswith(BODY)
        time.sleep(0.4)
        sock.sendall(GET + b"\r\n")
        assert sock.recv(65536).endswith(BODY)
        assert sock.recv(1) == b""


def test_idle_connections_keep_nobody_out() -> None:
    """Five hundred idle connections fill the server, and each newcomer is let in at the cost of the oldest of them."""
    with running(connections=500, stop=60.0) as server:
        idle = [server.connect() for _ in range(520)]
        for _ in range(20):
            with server.connect() as sock:
                assert status(exchange(sock, GET + LAST)) == 200
        idle[0].settimeout(60)
        assert idle[0].recv(1) == b""
        idle[-1].sendall(GET + LAST)
        assert status(drain(idle[-1])) == 200
        for sock in idle:
            sock.close()


def test_a_thousand_idle_connections_are_cut_beside_others() -> None:
    """All connections that say nothing are cut when their time is over; others that ask are answered all the while."""
    with running(request=1.0) as server, selectors.DefaultSelector() as cut:
        for _ in range(1000):
            cut.register(server.connect(), selectors.EVENT_READ)
        while cut.get_map():
            with server.connect() as asking:  # a new one each time: on a busy machine an old one is cut itself
                asking.sendall(GET + b"\r\n")
                assert status(asking.recv(65536)) == 200
            for key, _ in cut.select(0.05):
                sock = cast("socket.socket", key.fileobj)
                assert sock.recv(1) == b""
                cut.unregister(sock)
                sock.close()


def test_scrapes_beyond_the_bound_get_503() -> None:
    """Where all slots are taken the answer is 503 with Retry-After, and the slots come back."""
    source = Fake((b"a" * 30_000_000,))
    with running(source, scrapes=2, grace=60.0) as server:
        held = [server.connect() for _ in range(2)]
        for sock in held:
            sock.sendall(GET + LAST)
            sock.recv(1)
        with server.connect() as sock:
            answer = exchange(sock, GET + LAST)
        assert status(answer) == 503
        assert b"Retry-After: 1" in answer
        with server.connect() as sock:
            assert status(exchange(sock, GET.replace(b"/metrics", b"/-/healthy") + LAST)) == 200
        drain(held[0])
        held[1].close()
        held[0].close()
        with server.connect() as sock:
            assert status(exchange(sock, GET + LAST)) == 200


def test_a_stuck_scrape_makes_room() -> None:
    """A client that does not read loses its slot to a new one after its time."""
    with running(Fake((b"a" * 30_000_000,)), scrapes=1, grace=0.0) as server:
        stuck = server.connect()
        stuck.sendall(GET + LAST)
        stuck.recv(1)
        with server.connect() as sock:
            assert status(exchange(sock, GET + LAST)) == 200
        assert len(drain_until_reset(stuck)) < 30_000_000
        stuck.close()


@pytest.mark.parametrize("path", [b"/metrics?tenant=nobody", b"/?tenant=nobody", b"/api/v1/status?" + b"a&" * 300])
def test_what_is_refused_takes_no_slot(path: bytes) -> None:
    """A request without a 200 cuts off nobody else's scrape, though all slots are taken."""
    with running(Fake((b"a" * 30_000_000,)), scrapes=1, grace=0.0) as server, server.connect() as scrape:
        scrape.sendall(GET + LAST)
        scrape.recv(1)
        with server.connect() as sock:
            assert status(exchange(sock, GET.replace(b"/metrics", path) + LAST)) in {400, 404}
        assert len(drain(scrape)) > 30_000_000


def test_an_error_gives_its_slot_back() -> None:
    """Every answer but 200 gives its slot back at once, on a connection that is kept open."""
    source = Fake()
    with running(source, scrapes=1, grace=60.0) as server, httpx.Client(base_url=server.url) as client:
        source.fail = True
        assert [client.get("/metrics").status_code for _ in range(3)] == [500, 500, 500]
        source.fail, source.is_ready = False, False
        assert [client.get("/metrics").status_code for _ in range(3)] == [503, 503, 503]
        source.is_ready = True
        for path in ("/metrics?tenant=nobody", "/api/v1/status?tenant=nobody", "/?tenant=nobody"):
            assert client.get(path).status_code == 404
        for path in ("/metrics?", "/api/v1/status?"):
            assert client.get(path + "a&" * 300).status_code == 400
        assert httpx.get(f"{server.url}/metrics").status_code == 200


def test_a_client_that_has_left_gives_its_slot_back() -> None:
    """An answer to a client that closed its connection before keeps nobody out, though it is never acknowledged."""
    source = Fake(hold=threading.Event())
    with running(source, scrapes=1, grace=60.0) as server, httpx.Client(base_url=server.url) as client:
        assert source.hold is not None
        with server.connect() as sock:
            sock.sendall(GET.replace(b"/metrics", b"/api/v1/status") + b"\r\n")
            assert client.get("/-/healthy").status_code == 200
        assert client.get("/-/healthy").status_code == 200
        source.hold.set()
        until(lambda: client.get("/api/v1/status").status_code == 200, 10)


def test_stopping_answers_what_was_sent_ahead() -> None:
    """A request that was sent before the previous answer had arrived is answered, too."""
    source = Fake((b"a" * 20_000_000,), hold=threading.Event())
    with running(source, stop=20.0) as server, server.connect() as sock:
        assert source.hold is not None
        sock.sendall(GET + b"\r\n" + GET.replace(b"/metrics", b"/api/v1/status") + b"\r\n")
        got = sock.recv(1000)
        while len(got.partition(b"\r\n\r\n")[2]) < 20_000_000:
            got += sock.recv(1_000_000)
        time.sleep(0.3)  # by now, the server knows that it has arrived
        server.loop.call_soon_threadsafe(server.stop.set)
        until(lambda: is_closed(server))
        source.hold.set()
        assert status(drain(sock)) == 200


def is_closed(server: Running) -> bool:
    """Return whether nobody is accepted any more."""
    try:
        server.connect().close()
    except ConnectionError:
        return True
    return False


def test_stopping_lets_answers_end() -> None:
    """Stopping closes idle connections at once, lets the answer under way arrive, and accepts nobody new."""
    body = b"a" * 20_000_000
    with running(Fake((body,)), stop=10.0) as server:
        idle, busy = server.connect(), server.connect()
        busy.sendall(GET + b"\r\n")
        got = busy.recv(1000)
        server.loop.call_soon_threadsafe(server.stop.set)
        assert idle.recv(1) == b""
        assert len((got + drain(busy)).partition(b"\r\n\r\n")[2]) == len(body)
        server.thread.join(10)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        idle.close()
        busy.close()


def test_stopping_waits_for_nobody_for_ever() -> None:
    """A client that does not read, or a status that never comes, does not hold up the end."""
    source = Fake((b"a" * 50_000_000,), hold=threading.Event())
    with running(source, stop=0.3) as server:
        silent, waiting = server.connect(), server.connect()
        silent.sendall(GET + b"\r\n")
        silent.recv(1)
        waiting.sendall(GET.replace(b"/metrics", b"/api/v1/status") + b"\r\n")
        until(lambda: len(source.asked) == 1)
        server.end()
        for sock in (silent, waiting):
            sock.close()
    assert source.hold is not None
    source.hold.set()


@pytest.mark.parametrize("path", [b"/metrics", b"/api/v1/status"])
def test_what_a_client_does_not_read_is_bounded(path: bytes) -> None:
    """A client that does not read takes a slot and a few hundred KiB of the kernel, and a reset frees them."""
    source = Fake((b"a" * 30_000_000,), what=make_status({f"t{number}": reported() for number in range(5000)}))
    with running(source, scrapes=2, grace=60.0, response=5.0) as server:
        held = [server.connect() for _ in range(2)]
        for sock in held:
            sock.sendall(GET.replace(b"/metrics", path) + b"Accept-Encoding: identity\r\n" + b"\r\n")
            sock.recv(1)
        with server.connect() as sock:
            assert status(exchange(sock, GET + LAST)) == 503
        assert sum(unacknowledged(server.port)) < 2 * 600_000
        until(lambda: not any(unacknowledged(server.port)))
        with server.connect() as sock:
            assert status(exchange(sock, GET + LAST)) == 200
        for sock in held:
            drain_until_reset(sock)
            sock.close()


def unacknowledged(port: int) -> list[int]:
    """Return what the kernel holds to be sent from a port, by connection."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return [int(one[4].partition(":")[0], 16) for one in fields if int(one[1].partition(":")[2], 16) == port]


def test_slow_scrapes_of_one_address_keep_no_other_out() -> None:
    """While one address fills all slots with scrapes that it does not read, every scrape of another is answered."""
    with running(Fake((b"a" * 3_000_000,)), scrapes=8, grace=60.0) as server:
        held = []
        for number in range(20):
            # Slots that were lost to others are taken again at once.
            for _ in range(8 if number == 0 else 2):
                slow = socket.create_connection(("127.0.0.1", server.port), 60, source_address=("127.0.0.2", 0))
                slow.sendall(GET + b"\r\n")
                slow.recv(1)
                held.append(slow)
            with server.connect() as sock:
                answer = exchange(sock, GET + LAST)
            assert status(answer) == 200
            assert len(answer) > 3_000_000
        for slow in held:
            slow.close()
