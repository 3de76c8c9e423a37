"""Backfilled and scraped data meet in a real Prometheus."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from exporter.storage import Storage
from exporter.storage.history import History
from exporter.storage.openmetrics import Gauge, openmetrics_lines
from tests.storage.samples import CONTOSO, good, report, standing
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0
PATIENCE = 60.0  # seconds until a Prometheus that has not scraped is taken for broken
CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: office365
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{instance: here}}}}]
"""


@contextmanager
def scraped(body: str) -> Iterator[int]:
    """Serve `body` as /metrics on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def running(program: Path, folder: Path, target: int) -> Iterator[int]:
    """Run Prometheus on the data in `folder`/data; yield its port."""
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(port=target))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command: list[str | Path] = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield port
        finally:
            process.terminate()


def ask(port: int, path: str, **query: object) -> list[Any]:
    """Ask Prometheus; nothing while it is not there yet."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?{urlencode(query)}") as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
            return result
    except OSError:
        return []


@pytest.mark.parametrize("generation", ["", "3"])
def test_a_range_over_the_seam_is_one_series(folder: Path, tmp_path: Path, generation: str) -> None:
    """A range query over backfilled and scraped data gives one series, a value at every step, and the right one."""
    prometheus, promtool = require(f"prometheus{generation}"), require(f"promtool{generation}")
    seam = time.time()
    begun = [seam - hours * HOUR for hours in (60, 36, 12)]
    polls = [good(report(n, at - 1, OFFICE=(100 + n,))) for n, at in enumerate(begun)]
    polls.append(good(report(2, seam - 2, OFFICE=(102,))))
    storage = Storage.open(folder, clock=time.time)
    for number, poll in enumerate(polls, start=1):
        storage.save(CONTOSO, "contoso", standing(*polls[:number]), poll.snapshot)
    with History.open(folder) as history, (tmp_path / "backfill").open("w", encoding="utf-8") as backfill:
        backfill.writelines(
            openmetrics_lines(
                history,
                gauges={CONTOSO.report: [Gauge("assigned_users", "Assigned")]},
                now=seam,
                max_age=lambda _: 72 * HOUR,
                extra_labels={"job": "office365", "instance": "here"},
            )
        )
    storage.close()
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "backfill", tmp_path / "data"],
        check=True,
        capture_output=True,
    )
    body = '# TYPE assigned_users gauge\nassigned_users{tenant="contoso",product_type="OFFICE"} 102\n'
    with scraped(body) as target, running(prometheus, tmp_path, target) as port:
        deadline = time.monotonic() + PATIENCE
        while not ask(port, "query", query="up == 1"):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        for step in (HOUR, 60.0):
            end = time.time()
            (series,) = ask(port, "query_range", query="assigned_users", start=end - 59 * HOUR, end=end, step=step)
            assert series["metric"] == {
                "__name__": "assigned_users",
                "instance": "here",
                "job": "office365",
                "product_type": "OFFICE",
                "tenant": "contoso",
            }
            assert len(series["values"]) == 59 * HOUR // step + 1
            for at, value in series["values"]:
                assert int(value) == 99 + sum(at >= moment for moment in begun), at - seam
