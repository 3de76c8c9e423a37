"""Downloads that break in every way that can be thought of: each is the right report or refused, none in part.

One exception cannot be told apart: where nothing declared a length (no Content-Length, no chunks) and TLS itself says
that the answer ends, exactly between two lines, the lines before that end are a whole report. Where such an end comes
within a line, that line is a rejected row, so that the poll says by itself that something is missing.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest
import trustme

from exporter.auth.credentials import Credentials
from exporter.auth.tokens import TokenSource
from exporter.config import Cloud
from exporter.errors import Reason
from exporter.http import Clients, tls_context
from exporter.poller import Poller
from exporter.quota import LIMITS, Budget
from exporter.state import Row, Standing
from tests.builders import simulated
from tests.full_simulator import Fault, Response, Simulator, SimulatorServer, Stage
from tests.http.servers import certificate, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from exporter.config import Tenant
    from exporter.state import Outcome

HEADER = "Report Refresh Date,Product Type,Assigned,Activated,Shared Computer Activation\r\n"
ROWS = (Row("A", (12345, 1234, 123)), Row("VISIO É", (98, 76, 54)))
LINES = tuple(f"2026-09-19,{row.product_type},{','.join(map(str, row.counts))}\r\n".encode() for row in ROWS)
BODY = HEADER.encode() + b"".join(LINES)
BETWEEN_LINES = {len(HEADER) + len(LINES[0]): ROWS[:1]}
"""The one exception: cuts that leave a whole report of fewer lines."""

REFUSALS = {Reason.NETWORK, Reason.REPORT, Reason.SERVER}
NOTIFY, RAGGED, RESET = "close_notify", "end without close_notify", "reset"
OK = b"HTTP/1.1 200 OK\r\n"
GZIP = b"Content-Encoding: gzip\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One download.

    Attributes:
        name: what is wrong with it.
        wire: the bytes that the host sends.
        end: how its connection ends.
        rows: what may be published; none: the download must be refused.
        rejected: how many rejected rows the poll must tell of.
        or_refused: whether a refusal is right as well.
    """

    name: str
    wire: bytes
    end: str
    rows: tuple[Row, ...] = ()
    rejected: int = 0
    or_refused: bool = False


def length(body: bytes) -> bytes:
    """Frame a body by Content-Length."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    """Frame a body by chunks of at most 64 bytes."""
    pieces = [body[at : at + 64] for at in range(0, len(body), 64)]
    return (
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\n\r\n"
    )


def until_the_end(body: bytes) -> bytes:
    """Frame a body by nothing but the end of its connection."""
    return b"\r\n" + body


def members(count: int) -> bytes:
    """Return the body as so many members of gzip; each but the last ends within a line's last number."""
    bounds = [0, *[len(BODY) - 3, len(BODY) - len(LINES[-1]) - 3][: count - 1][::-1], len(BODY)]
    return b"".join(gzip.compress(BODY[a:b], mtime=0) for a, b in itertools.pairwise(bounds))


def cut(answer: bytes, end: str) -> Iterator[Case]:
    """Cut an answer that says where it ends at every place."""
    for at in range(len(answer)):
        yield Case(f"cut at {at}", answer[:at], end)
    yield Case("whole", answer, end, ROWS, or_refused=end == RESET)


def cut_without_a_length(end: str) -> Iterator[Case]:
    """Cut a body that nothing measures at every place."""
    for at in range(len(BODY)):
        wire = OK + until_the_end(BODY[:at])
        if end != NOTIFY:
            yield Case(f"cut at {at}", wire, end)
        elif at in BETWEEN_LINES:
            yield Case(f"cut at {at}, between two lines", wire, end, BETWEEN_LINES[at])
        else:
            # Without a good row there is no report; with one, the line that has no end is a rejected row.
            good = next((rows for place, rows in BETWEEN_LINES.items() if place < at), ())
            within = f"cut at {at}, within a line"
            yield Case(within, wire, end, good, rejected=bool(good), or_refused=not _is_text(BODY[:at]))
    yield Case("whole", OK + until_the_end(BODY), end, ROWS if end == NOTIFY else ())


def _is_text(cut: bytes) -> bool:
    return cut.decode("utf-8", "replace").encode() == cut


def cut_members_without_a_length() -> Iterator[Case]:
    """Cut gzip that nothing measures at every place: a member says where it ends, not that it is the last one."""
    for count in (1, 2, 3):
        whole = members(count)
        parts = whole.split(gzip.compress(b"")[:4])[1:]
        ends = set(itertools.accumulate(4 + len(part) for part in parts))
        for at in range(len(whole) + 1):
            name = f"{count} members, cut at {at}"
            wire = OK + GZIP + until_the_end(whole[:at])
            if at not in ends:
                yield Case(name, wire, NOTIFY)
                continue
            text = gzip.decompress(whole[:at])
            good = tuple(row for row, line in zip(ROWS, LINES, strict=True) if line in text)
            yield Case(f"{name}, after a member", wire, NOTIFY, good, rejected=bool(good) and text != BODY)


def rubbish_behind_a_member() -> Iterator[Case]:
    """Send something that is no gzip behind one, two or three members of it."""
    for count in (1, 2, 3):
        for rubbish in (b"\0", b"\0" * 512, b"\x1f", b"\x1f\x8b", b"rubbish", BODY, gzip.compress(BODY)[:-1]):
            for framing in (length, chunked, until_the_end):
                name = f"{count} members, then {rubbish[:8]!r}, {framing.__name__}"
                yield Case(name, OK + GZIP + framing(members(count) + rubbish), NOTIFY)


def broken_gzip() -> Iterator[Case]:
    """Change one byte of a gzip's data or trailer: its checksum or length does not hold any longer."""
    whole = members(1)
    for at in range(10, len(whole)):  # the header before it holds a time and the like, which nobody checks
        changed = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
        yield Case(f"byte {at} is another", OK + GZIP + length(changed), NOTIFY)


def lying_lengths() -> Iterator[Case]:
    """Declare a length that is not the body's."""
    size = len(BODY)
    for declared in (*range(8), *range(size - 40, size), *range(size + 1, size + 8), 2 * size, 10**9, 10**18):
        yield Case(f"{declared} for {size}", OK + b"Content-Length: %d\r\n\r\n%b" % (declared, BODY), RAGGED)
    for value in (b"-1", b"+%d" % size, b"0x10", b"1e2", b"", b"%d, 7" % size, b"%d\r\nContent-Length: 7" % size):
        yield Case(f"length {value!r}", OK + b"Content-Length: %b\r\n\r\n%b" % (value, BODY), RAGGED)
    for head in (b"fffffffff", b"-1", b"0x10", b"", b"g", b"7fffffffffffffff"):
        wire = OK + b"Transfer-Encoding: chunked\r\n\r\n%b\r\n%b\r\n0\r\n\r\n" % (head, BODY)
        yield Case(f"a chunk of {head!r}", wire, NOTIFY)
    for less in range(1, 30):
        wire = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size - less, BODY)
        yield Case(f"a chunk that is {less} longer than it says", wire, NOTIFY)


def bad_encodings() -> Iterator[Case]:
    """Send the body in an encoding other than the one that is declared, or in one that nobody asked for."""
    packed = gzip.compress(BODY)
    for coding in (b"br", b"deflate", b"zstd", b"gzip, gzip", b"compress", b"gzip, identity", b"utf-8", b"\xff"):
        for body in (BODY, packed, zlib.compress(BODY)):
            yield Case(f"{coding!r}", OK + b"Content-Encoding: %b\r\n" % coding + length(body), NOTIFY)
    yield Case("gzip twice", OK + GZIP + length(gzip.compress(packed)), NOTIFY)
    yield Case("two headers", OK + GZIP + GZIP + length(packed), NOTIFY)
    yield Case("gzip, not said", OK + length(packed), NOTIFY)
    yield Case("no gzip, said", OK + GZIP + length(BODY), NOTIFY)
    yield Case("zlib as gzip", OK + GZIP + length(zlib.compress(BODY)), NOTIFY)
    for coding in (b"gzip", b"identity", b"gzip, chunked", b"chunked, chunked"):
        yield Case(f"transfer {coding!r}", OK + b"Transfer-Encoding: %b\r\n\r\n%b" % (coding, packed), NOTIFY)
    text = BODY.decode()
    for charset in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp437", "cp037"):
        yield Case(charset, OK + length(text.encode(charset)), NOTIFY)


def surplus_bytes() -> Iterator[Case]:
    """Send more than the answer on its connection."""
    other = OK + length(BODY.replace(b"12345", b"54321"))
    for surplus in (b"\0", b"\r\n", b"x", BODY, other, b"HTTP/1.1 500 Oops\r\n\r\n", gzip.compress(BODY)):
        for framing in (length, chunked):
            for end in (NOTIFY, RAGGED):
                name = f"{surplus[:8]!r} behind {framing.__name__}, {end}"
                yield Case(name, OK + framing(BODY) + surplus, end, ROWS, or_refused=True)
    yield Case("two answers", other + OK + length(BODY), NOTIFY)


def other_answers() -> Iterator[Case]:
    """Answer with a status or a head that is not the report's."""
    for status in (b"201 Created", b"204 No Content", b"206 Partial Content", b"299 Odd", b"100 Continue"):
        wire = b"HTTP/1.1 %b\r\nContent-Range: bytes 0-99/200\r\n" % status + length(BODY)
        yield Case(repr(status), wire, NOTIFY)
    for version in (b"HTTP/2", b"ICY", b"HTTP/1.1.1"):
        yield Case(repr(version), version + b" 200 OK\r\n" + length(BODY), NOTIFY)
    for version in (b"HTTP/0.9", b"HTTP/3.0"):
        yield Case(repr(version), version + b" 200 OK\r\n" + length(BODY), NOTIFY, ROWS, or_refused=True)
    for head in (
        b"No colon\r\n",
        b" folded: x\r\n",
        b"Bad\0name: x\r\n",
        b"X: \0\r\n",
        b"X: " + b"y" * 200_000 + b"\r\n",
    ):
        yield Case(f"head {head[:10]!r}", OK + head + length(BODY), NOTIFY)
    yield Case("no head", BODY, NOTIFY)
    yield Case("nothing", b"", NOTIFY)
    yield Case("an interim answer first", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + length(BODY), NOTIFY, ROWS)
    yield Case("HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + length(BODY), RAGGED, ROWS)


GENERATORS: dict[str, Callable[[], Iterator[Case]]] = {
    "Content-Length, close_notify": lambda: cut(OK + length(BODY), NOTIFY),
    "Content-Length, no close_notify": lambda: cut(OK + length(BODY), RAGGED),
    "Content-Length, reset": lambda: cut(OK + length(BODY), RESET),
    "chunked, close_notify": lambda: cut(OK + chunked(BODY), NOTIFY),
    "chunked, no close_notify": lambda: cut(OK + chunked(BODY), RAGGED),
    "until the end, close_notify": lambda: cut_without_a_length(NOTIFY),
    "until the end, no close_notify": lambda: cut_without_a_length(RAGGED),
    "until the end, reset": lambda: cut_without_a_length(RESET),
    "one member of gzip": lambda: cut(OK + GZIP + length(members(1)), NOTIFY),
    "two members of gzip": lambda: cut(OK + GZIP + length(members(2)), RAGGED),
    "three members of gzip, chunked": lambda: cut(OK + GZIP + chunked(members(3)), NOTIFY),
    "gzip until the end": cut_members_without_a_length,
    "rubbish behind a member": rubbish_behind_a_member,
    "broken gzip": broken_gzip,
    "lying lengths": lying_lengths,
    "bad encodings": bad_encodings,
    "surplus bytes": surplus_bytes,
    "other answers": other_answers,
}


class DownloadHost:
    """A simulated Microsoft whose downloads come from a host that sends what it is told, and a poller.

    Args:
        server: the simulation, of one tenant.
        authority: who vouches for the download host.
    """

    def __init__(self, server: SimulatorServer, authority: trustme.CA) -> None:
        self._server = server
        self._state = server.simulator
        self._trust = tls_context(server.ca_file)
        authority.configure_trust(self._trust)
        self._clients = Clients(tls=self._trust)
        self._tokens = TokenSource(self._clients, Credentials(), clock=server.now)
        self._case = Case("", b"", NOTIFY)

    def handle(self, connection: socket.socket) -> None:
        """Answer a request with the bytes of the case, and end the connection as it says."""
        secure = cast("ssl.SSLSocket", connection)
        secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure.recv(65536)
        if self._case.wire:
            secure.sendall(self._case.wire)
        if self._case.end == NOTIFY:
            secure.unwrap()
        elif self._case.end == RESET:
            secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def point_to(self, port: int) -> None:
        """Let Graph redirect to the host on this port, and make the tenant that may follow."""
        location = (("Location", f"https://localhost:{port}/data/v1.0/download?token=x"),)
        redirect = Fault("elsewhere", Stage.GRAPH, "another host", lambda _call, _good: Response(302, location))
        known = self._server.simulator.tenants[0]
        self._state.inject(known, redirect, times=None)
        cloud = Cloud("custom", self._server.cloud.login, self._server.cloud.graph, "v1.0", ())
        self._tenant: Tenant = simulated(known, cloud=cloud, download_hosts=(f"localhost:{port}",))

    def poll(self, case: Case) -> Outcome:
        """Poll once, by a single call, whose download is the case's."""
        self._case = case
        self._state.open_windows()  # Microsoft's limit is another test's
        clock = self._server.now
        budget = Budget(clock, {self._tenant.keys[0]: [clock()] * (LIMITS["csv"] - 1)})
        poller = Poller(self._clients, self._tokens, budget, clock=clock, sleep=lambda _seconds: None)
        return poller.poll(self._tenant, self._tenant.keys[0], Standing())

    def close(self) -> None:
        """Close the poller's connections."""
        self._clients.close()


@pytest.fixture(scope="module")
def host() -> Iterator[DownloadHost]:
    """Serve a simulated tenant and the host of its downloads."""
    authority = trustme.CA()
    with SimulatorServer(Simulator(tenants=1)) as server:
        made = DownloadHost(server, authority)
        with serving(made.handle, certificate(authority, "localhost")) as port:
            made.point_to(port)
            yield made
            made.close()


def what_is_wrong(case: Case, outcome: Outcome) -> str:
    """Return how an outcome breaks the promise, or an empty string."""
    if outcome.failure is not None:
        allowed = case.or_refused or not case.rows
        return "" if allowed and outcome.failure.reason in REFUSALS and not outcome.snapshot else str(outcome.failure)
    rows = outcome.snapshot.rows if outcome.snapshot else ()
    return "" if rows == case.rows and outcome.rejected_rows == case.rejected else f"published {rows}"


def test_there_are_enough_broken_downloads() -> None:
    """The table makes more than 200 downloads that must be refused, under every framing and every end."""
    cases = [case for generator in GENERATORS.values() for case in generator()]
    refused = [case for case in cases if not case.rows]
    assert len(refused) >= 200
    assert set(Counter(case.end for case in refused)) == {NOTIFY, RAGGED, RESET}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_broken_download_is_right_or_refused(host: DownloadHost, name: str) -> None:
    """No download is published in part, but for the one exception that this module's first lines name."""
    wrong = {case.name: what for case in GENERATORS[name]() if (what := what_is_wrong(case, host.poll(case)))}
    assert wrong == {}
