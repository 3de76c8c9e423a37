"""Reports as large as they may be, for all workers at once, in a process of its own."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from exporter.http import MAX_BODY
from tests.full_simulator import Fault, Response, Simulator, SimulatorServer, Stage
from tests.http.servers import certificate, serving
from tests.process import ALL_POLLED, Running, configure

if TYPE_CHECKING:
    import socket

WORKERS = 16  # as many as poll.concurrency lets run by default
MOST = 256  # MiB, all of the process
HEADER = "Report Refresh Date,Product Type,Assigned,Activated,Shared Computer Activation,New\n"


def csv() -> bytes:
    """Return a good report of 1,000 product types whose text needs four bytes a character in memory."""
    padding = "😀" * ((MAX_BODY - len(HEADER)) // 1000 // 4 - 9)
    return (HEADER + "".join(f"2026-09-19,P{n:04},{n},2,1,{padding}\n" for n in range(1000))).encode()


def json(piece: str) -> bytes:
    """Return JSON that is no report but takes many times its size once it is parsed."""
    head, tail = '{"value":[', "0]}"
    return (head + piece * ((MAX_BODY - len(head) - len(tail)) // len(piece)) + tail).encode()


@pytest.mark.parametrize(
    ("body", "report", "refused"),
    [
        (csv(), {"format": "csv"}, False),
        (json('"ab",'), {"api_version": "beta", "format": "json"}, True),
        (json('{"":' * 100 + "0" + "}" * 100 + ","), {"api_version": "beta", "format": "json"}, True),
    ],
    ids=["csv", "json", "objects"],
)
def test_reports_at_the_limit_for_all_workers_at_once_stay_below_256_mib(
    tmp_path: Path, body: bytes, report: dict[str, str], *, refused: bool
) -> None:
    """Sixteen polls that hold two MiB each at one moment leave the whole process below 256 MiB."""
    assert MAX_BODY - 16_000 < len(body) <= MAX_BODY
    all_hold = threading.Barrier(WORKERS)
    authority = trustme.CA()

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body[:-1]))
        all_hold.wait(120)
        connection.sendall(body[-1:])

    with (
        SimulatorServer(Simulator(tenants=WORKERS)) as server,
        serving(handle, certificate(authority, "localhost")) as port,
    ):
        location = (("Location", f"https://localhost:{port}/data/v1.0/download"),)
        large = Fault("large", Stage.GRAPH, "a large report", lambda _call, _good: Response(302, location))
        for tenant in server.simulator.tenants:
            server.simulator.inject(tenant, large)
        ca_file = tmp_path / "all.pem"
        ca_file.write_bytes(server.ca_file.read_bytes() + authority.cert_pem.bytes())
        http = {"ca_file": str(ca_file), "download_hosts": [f"localhost:{port}"]}
        path = configure(server, tmp_path, {"report": report, "http": http})
        with Running("serve", "--config.file", str(path), log=tmp_path / "log") as exporter:
            text = exporter.wait_until(ALL_POLLED)
            status = Path(f"/proc/{exporter.process.pid}/status").read_text(encoding="utf-8")
    assert not all_hold.broken
    failed = f'exporter_failures_total{{reason="report"}} {WORKERS if refused else 0}.0'
    assert failed in text
    assert len(re.findall(r"^office365_activations_up\{.* 1\.0$", text, re.MULTILINE)) == (0 if refused else WORKERS)
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak.group(1)) < MOST * 1024
