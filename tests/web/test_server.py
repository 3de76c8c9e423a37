"""The server as a whole: its bounds, its errors and its end."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from structlog.testing import capture_logs

from exporter.web.server import _room
from tests.web.serving import Fake, drain, exchange, running, status, until

if TYPE_CHECKING:
    from exporter.status import Status

LAST = b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))
from tests.web.serving import running
with running(connections=1000, stop=60.0) as server:
    print(server.port, flush=True)
    sys.stdin.readline()
"""


@dataclass
class Slow(Fake):
    """A source whose reload waits for the test, and whose status fails."""

    gate: threading.Event = field(default_factory=threading.Event)

    def reload(self) -> tuple[bool, str]:
        """Wait."""
        self.gate.wait(20)
        return True, "done"

    def status(self, tenant: str | None = None) -> Status:
        """Fail."""
        raise ArithmeticError("the test asked for it")


def test_a_status_that_fails_costs_one_answer() -> None:
    """An error in a thread is answered by 500 and logged with the path."""
    with capture_logs() as logs, running(Slow()) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/api/v1/status").status_code == 500
        assert client.get("/-/healthy").status_code == 200
    assert [one["path"] for one in logs if one["event"] == "a request failed"] == ["/api/v1/status"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_requests_are_logged_at_debug_only(level: str, caplog: pytest.LogCaptureFixture) -> None:
    """At debug each answer is a line with client, path and status; by default there is none."""
    caplog.set_level(level, logger="exporter")
    with capture_logs() as logs, running() as server, httpx.Client(base_url=server.url) as client:
        client.get("/metrics?tenant=contoso")
        client.get("/nothing")
    answered = [
        (one["client"], one["method"], one["path"], one["status"]) for one in logs if one["event"] == "answered"
    ]
    expected = [("127.0.0.1", "GET", "/metrics", 200), ("127.0.0.1", "GET", "/nothing", 404)]
    assert answered == (expected if level == "DEBUG" else [])


def test_reloads_queue_up_to_a_bound() -> None:
    """Reloads run one after the other, and beyond four of them the answer is 429."""
    source = Slow()
    with running(source, enable_lifecycle=True) as server:
        codes: list[int] = []

        def ask() -> None:
            codes.append(httpx.post(f"{server.url}/-/reload", timeout=60).status_code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        until(lambda: codes == [429, 429])
        source.gate.set()
        for thread in threads:
            thread.join(20)
        assert sorted(codes) == [200] * 4 + [429] * 2


def test_a_client_that_leaves_before_its_answer() -> None:
    """An answer that nobody waits for any more is dropped without a trace."""
    source = Fake(hold=threading.Event())
    with capture_logs() as logs, running(source) as server:
        sock = server.connect()
        sock.sendall(LAST.replace(b"/metrics", b"/api/v1/status"))
        # A reset in place of an end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert httpx.get(f"{server.url}/-/healthy").status_code == 200
        assert source.hold is not None
        source.hold.set()
        assert httpx.get(f"{server.url}/api/v1/status").status_code == 200
    assert [one for one in logs if one["log_level"] == "error"] == []


def test_a_full_server_turns_newcomers_away() -> None:
    """Where every connection has a request under way, a new one is closed at once, and let in again later."""
    source = Fake(hold=threading.Event())
    with running(source, connections=16) as server:
        busy = [server.connect() for _ in range(8)]
        for sock in busy:
            sock.sendall(LAST.replace(b"/metrics", b"/"))
        source.pieces = (b"a" * 30_000_000,)
        large = [server.connect() for _ in range(8)]
        for sock in large:
            sock.sendall(LAST)
            sock.recv(1)
        with server.connect() as sock, contextlib.suppress(ConnectionResetError):
            assert exchange(sock, LAST) == b""
        assert source.hold is not None
        source.hold.set()
        assert [status(drain(sock)) for sock in busy] == [200] * 8
        with server.connect() as sock:
            assert status(exchange(sock, LAST)) == 200
        for sock in busy + large:
            sock.close()


def test_an_error_on_the_loop_is_logged() -> None:
    """An error outside of any request is logged as an error."""
    with capture_logs() as logs, running() as server:
        server.loop.call_soon_threadsafe(lambda: 1 // 0)
        assert httpx.get(f"{server.url}/-/healthy").status_code == 200
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["an error on the event loop"]


@pytest.mark.parametrize("files", [26, 40, 600])
def test_few_files(files: int) -> None:
    """Where a process may open few files, more connections are closed or wait, and the server continues."""
    pytest.importorskip("resource", reason="the limits of other platforms are set otherwise")
    # At 26 even fewer can be opened than the server keeps room for.
    script = FEW_FILES.format(files=files)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        held = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(100)]
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), 60) as sock:
                assert status(exchange(sock, LAST)) == 200
        for sock in held:
            sock.close()
        _, errors = process.communicate("\n", timeout=60)
        assert process.returncode == 0, errors


def test_without_limits_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no limit of open files, as many connections may be open as are wanted."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert _room(5) == 5
