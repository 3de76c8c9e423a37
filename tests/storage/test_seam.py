"""Backfilled and scraped data meet in a real Prometheus."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from exporter.cli.history import openmetrics_lines
from exporter.storage import Storage
from exporter.storage.history import History
from tests.prometheus import prometheus
from tests.storage.samples import CONTOSO, good, report, standing
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0
ASSIGNED = "office365_activations_assigned_users"


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


@pytest.mark.parametrize("generation", ["", "3"])
def test_a_range_over_the_seam_is_one_series(folder: Path, tmp_path: Path, generation: str) -> None:
    """A range query over backfilled and scraped data gives one series, a value at every step, and the right one."""
    promtool = require(f"promtool{generation}")
    seam = time.time()
    begun = [seam - hours * HOUR for hours in (60, 36, 12)]
    polls = [good(report(n, at - 1, OFFICE=(100 + n,))) for n, at in enumerate(begun)]
    polls.append(good(report(2, seam - 2, OFFICE=(102,))))
    storage = Storage.open(folder, clock=time.time)
    for number, poll in enumerate(polls, start=1):
        storage.save(CONTOSO, "contoso", standing(*polls[:number]), poll.snapshot)
    with History(folder) as history, (tmp_path / "backfill").open("w", encoding="utf-8") as backfill:
        backfill.writelines(
            openmetrics_lines(
                history,
                history.series(),
                0.0,
                seam,
                max_age=72 * HOUR,
                step=240.0,
                extra_labels={"job": "office365", "instance": "here"},
            )
        )
    storage.close()
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "backfill", tmp_path / "data"],
        check=True,
        capture_output=True,
    )
    body = f'# TYPE {ASSIGNED} gauge\n{ASSIGNED}{{tenant="contoso",product_type="OFFICE"}} 102\n'
    with (
        scraped(body) as port,
        prometheus(f"prometheus{generation}", f"127.0.0.1:{port}", tmp_path, labels={"instance": "here"}) as server,
    ):
        server.wait_for("up == 1")
        for step in (HOUR, 60.0):
            end = time.time()
            start = end - 59 * HOUR
            (series,) = server.ask("query_range", query=ASSIGNED, start=start, end=end, step=step)["result"]
            assert series["metric"] == {
                "__name__": ASSIGNED,
                "instance": "here",
                "job": "office365",
                "product_type": "OFFICE",
                "tenant": "contoso",
            }
            assert len(series["values"]) == 59 * HOUR // step + 1
            for at, value in series["values"]:
                assert int(value) == 99 + sum(at >= moment for moment in begun), at - seam
