"""Clients that hold or fill connections, on purpose or broken: what they get of the exporter, and of uvicorn."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.bench.clients import Client
from tests.bench.filling import configure, fill, stored
from tests.bench.installation import ROOT
from tests.bench.results import Bar, Result, Table, at_most, figure, milliseconds
from tests.bench.servers import Exporter, Server
from tests.tools import free_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.bench import Bench

    BadClient = Callable[[socket.socket, threading.Event], object]

_CLIENTS = 16
_FLOOD = 16 * 2**20
"""Bytes that an endless head sends as fast as it can; then it drips."""

_DRIP = 0.5
_CHUNK = 64 * 1024
_WATCHED = 90
_LONGEST_DEADLINE = 75
"""Seconds: the exporter's deadline for a response, and what closing and reading /proc take."""

_CHECKED = 0.1
_UNANSWERED = 5.0
"""Seconds after which `/-/healthy` counts as not answered."""


def bad_clients(bench: Bench) -> Result:
    """How long a bad client's connection is held, what it takes, and whether others are answered meanwhile."""
    size, watched = bench.size(1000), 15 if bench.quick else _WATCHED
    folder = bench.new_folder()
    configuration = configure(folder, size, **stored(folder))
    fill(configuration)
    scrape = folder / "scrape"
    with Exporter(bench.installation, configuration) as exporter:
        scrape.write_text(exporter.await_polls(), encoding="utf-8")
    rows: list[Sequence[str]] = []
    bars: list[Bar] = []
    for kind, bad_client in _KINDS.items():
        servers: Mapping[str, Server] = {
            "exporter": Exporter(bench.installation, configuration),
            "uvicorn, httptools": _Uvicorn(bench.new_folder(), scrape, "httptools"),
            "uvicorn, h11": _Uvicorn(bench.new_folder(), scrape, "h11"),
        }
        for name, server in servers.items():
            with server:
                if isinstance(server, Exporter):
                    server.await_polls()
                found = _suffer(server, bad_client, watched)
            rows.append((kind, name, *found.cells(watched)))
            if name == "exporter":
                bars += found.bars(kind, watched)
    head = ("client", "server", "longest held, s", "memory, MiB", "kernel buffers, MiB", "/-/healthy, longest, ms")
    title = f"{_CLIENTS} bad clients of one kind at {size:,} tenants, watched for {watched} s"
    note = (
        "Longest held: until the process has closed the last of these connections; >: it still held some at the end. "
        "Memory: growth of the resident memory at its peak. Kernel buffers: bytes received and not read, or sent and "
        f"not acknowledged, at their peak. An endless head is {_FLOOD // 2**20} MiB as fast as the server takes it, "
        f"then a byte every {_DRIP:g} s. "
        "uvicorn runs with its defaults and an application that does nothing but answer, once with httptools "
        "(as in `uvicorn[standard]`), once with h11 (its plain installation). "
        "none: `/-/healthy` was not always answered within 5 s."
    )
    return Result((Table(title, head, rows, note),), bars)


class _Uvicorn(Server):
    """uvicorn as it comes.

    Args:
        folder: for its log.
        scrape: the file that it serves.
        parser: what reads its requests.
    """

    def __init__(self, folder: Path, scrape: Path, parser: str) -> None:
        address = free_address()
        host, _, port = address.rpartition(":")
        words = [sys.executable, "-m", "uvicorn", "tests.bench.asgi:app", f"--app-dir={ROOT}", f"--host={host}"]
        words += [f"--port={port}", f"--http={parser}", "--loop=asyncio", "--log-level=critical", "--no-access-log"]
        environment = os.environ | {"BENCH_SCRAPE": str(scrape)}
        super().__init__(words, address, folder / "uvicorn.log", environment, "/-/healthy")


@dataclass(slots=True)
class _Found:
    """What bad clients got of a server.

    Attributes:
        held: until their last connection was closed, seconds; None: it never was.
        memory: growth of the process, MiB.
        buffers: bytes in the kernel, MiB.
        healthy: how long `/-/healthy` took, each time; None where there was no answer.
    """

    held: float | None = None
    memory: float = 0.0
    buffers: float = 0.0
    healthy: list[float | None] = field(default_factory=list)

    def cells(self, watched: float) -> tuple[str, ...]:
        """Return the cells of a row."""
        held = f"> {watched:g}" if self.held is None else "< 0.1" if self.held < _CHECKED else f"{self.held:.1f}"
        answered = [taken for taken in self.healthy if taken is not None]
        healthy = milliseconds(max(answered)) if len(answered) == len(self.healthy) else "none"
        return held, figure(self.memory), figure(self.buffers), healthy

    def bars(self, kind: str, watched: float) -> list[Bar]:
        """Return what the exporter is held to."""
        answered = [taken for taken in self.healthy if taken is not None]
        times = f"{len(answered)} of {len(self.healthy)} times"
        held = self.cells(watched)[0]
        in_time = self.held is not None and self.held <= _LONGEST_DEADLINE
        return [
            Bar(f"{kind}: longest time a connection is held", f"at most {_LONGEST_DEADLINE} s", f"{held} s", in_time),
            at_most(f"{kind}: memory and kernel buffers", self.memory + self.buffers, 24, "MiB"),
            Bar(f"{kind}: /-/healthy answers", "always", times, len(answered) == len(self.healthy)),
        ]


def _suffer(server: Server, bad_client: BadClient, watched: float) -> _Found:
    """Let the clients do what they do until all their connections have ended, or for so many seconds."""
    found = _Found()
    before, port = server.resident, int(server.address.rpartition(":")[2])
    with _Crowd(server.address, bad_client) as crowd, _Prober(server) as prober:
        started = time.monotonic()
        while (passed := time.monotonic() - started) < watched:
            held, queued = _sockets(port, crowd.ports)
            found.memory = max(found.memory, server.resident - before)
            found.buffers = max(found.buffers, queued / 2**20)
            if not held:
                found.held = passed
                break
            time.sleep(_CHECKED)
    found.healthy = prober.times
    return found


def _sockets(port: int, clients: frozenset[int]) -> tuple[int, int]:
    """Return how many of the clients' sockets the server's process holds, and how many bytes wait in the kernel."""
    held = queued = 0
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, _, queues, *_, inode = line.split()[:10]
        if int(local[-4:], 16) == port and int(remote[-4:], 16) in clients:
            # A socket that its process has closed has no inode, and may hold bytes all the same.
            held += inode != "0"
            queued += sum(int(queue, 16) for queue in queues.split(":"))
    return held, queued


class _Crowd:
    """Bad clients, each in a thread of its own, while the `with` block runs."""

    def __init__(self, address: str, bad_client: BadClient) -> None:
        host, _, port = address.rpartition(":")
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        for _ in range(_CLIENTS):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(1)
            sock.connect((host, int(port)))
            self._sockets.append(sock)
        self.ports = frozenset(sock.getsockname()[1] for sock in self._sockets)
        self._threads = [threading.Thread(target=self._run, args=(bad_client, sock)) for sock in self._sockets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _run(self, bad_client: BadClient, sock: socket.socket) -> None:
        # The server has hung up: there is nothing left to do wrong.
        with contextlib.suppress(ConnectionError):
            bad_client(sock, self._ended)


class _Prober:
    """Asks for `/-/healthy`, each time on a new connection, while the `with` block runs."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self.times: list[float | None] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.times or not self._ended.wait(0.1):
            started = time.perf_counter()
            try:
                with Client(self._server.address, timeout=_UNANSWERED) as client:
                    client.get("/-/healthy")
            except OSError:
                self.times.append(None)
            else:
                self.times.append(time.perf_counter() - started)


def _send(sock: socket.socket, data: bytes, ended: threading.Event) -> None:
    """Send all of it, however long the server takes to read it."""
    rest = memoryview(data)
    while rest and not ended.is_set():
        with contextlib.suppress(TimeoutError):
            rest = rest[sock.send(rest) :]


def _flood(sock: socket.socket, ended: threading.Event, start: bytes, chunk: bytes) -> None:
    _send(sock, start, ended)
    for _ in range(_FLOOD // len(chunk)):
        _send(sock, chunk, ended)
    while not ended.wait(_DRIP):
        _send(sock, b"a", ended)


def _endless_line(sock: socket.socket, ended: threading.Event) -> None:
    _flood(sock, ended, b"GET /metrics HTTP/1.1\r\nHost: bench\r\nX-Long: ", b"a" * _CHUNK)


def _endless_headers(sock: socket.socket, ended: threading.Event) -> None:
    header = b"X-Another: a value\r\n"
    _flood(sock, ended, b"GET /metrics HTTP/1.1\r\nHost: bench\r\n", header * (_CHUNK // len(header)))


def _byte_by_byte(sock: socket.socket, ended: threading.Event) -> None:
    for byte in b"GET /metrics HTTP/1.1\r\nHost: bench\r\nX-Slow: " + b"a" * 1000:
        _send(sock, bytes((byte,)), ended)
        if ended.wait(_DRIP):
            return


def _no_reading(sock: socket.socket, ended: threading.Event) -> None:
    _send(sock, b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n" * 50, ended)
    ended.wait()


def _half_close(sock: socket.socket, ended: threading.Event) -> None:
    _send(sock, b"GET /metrics HTTP/1.1\r\nHost: bench\r\n", ended)
    sock.shutdown(socket.SHUT_WR)
    ended.wait()


_KINDS: Mapping[str, BadClient] = {
    "an endless header line": _endless_line,
    "endless headers": _endless_headers,
    "one byte at a time": _byte_by_byte,
    "no reading": _no_reading,
    "half-close in a request": _half_close,
}
