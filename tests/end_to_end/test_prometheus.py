"""Real Prometheus scrapes the exporter."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from exporter.simulator import Simulator
from tests.process import COMMAND, Running, environment
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = "activations_user_counts"
GAUGES = ("assigned_users", "activated_users", "shared_computer_users")


class Prometheus:
    """A running Prometheus.

    Args:
        address: of its HTTP API.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        answer = httpx.get(f"http://{self.address}/api/v1/query", params={"query": promql}, trust_env=False)
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def wait_for(self, promql: str, seconds: float = 40) -> list[dict[str, Any]]:
        """Return the first result of a query that has one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if result := self.query(promql):
                    return result
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"no result for {promql}")


@contextmanager
def prometheus(name: str, target: str, folder: Path) -> Iterator[Prometheus]:
    """Run a real Prometheus that scrapes `target` each second."""
    folder.mkdir()
    scrape = {"job_name": "office365", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    configuration = folder / "prometheus.yml"
    configuration.write_text(json.dumps({"scrape_configs": [scrape]}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [
        str(require(name)),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (
        (folder / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(words, stdout=log, stderr=log) as process,
    ):
        try:
            yield Prometheus(address)
        finally:
            process.terminate()


@pytest.mark.parametrize("name", ["prometheus", "prometheus3"])
def test_prometheus_has_exactly_the_numbers_that_were_served(tmp_path: Path, name: str) -> None:
    """PromQL gives for each tenant and product type of `demo` the served numbers, and ratios need no label juggling."""
    require(name)
    simulator = Simulator()  # the same seed makes the same tenants and numbers as the demo's own
    with (
        Running("demo", log=tmp_path / "log") as demo,
        prometheus(name, demo.address, tmp_path / "prometheus") as server,
    ):
        day = simulator.refresh_date(time.time())
        expected = {
            (tenant.name, row.product_type.upper()): row.counts
            for tenant in simulator.tenants
            for row in simulator.rows(tenant, USERS, day)
        }
        server.wait_for("count(office365_activations_up == 1) == 3")
        server.wait_for(f"count(office365_activations_report_refresh_timestamp_seconds) == {len(simulator.tenants)}")
        time.sleep(2)
        for position, gauge in enumerate(GAUGES):
            found = {
                (one["metric"]["tenant"], one["metric"]["product_type"]): float(one["value"][1])
                for one in server.query(f"office365_activations_{gauge}")
            }
            assert found == {key: counts[position] for key, counts in expected.items()}
        ratios = server.query("office365_activations_activated_users / office365_activations_assigned_users")
        assert len(ratios) == len(expected)
        for one in ratios:
            assigned, activated, _ = expected[one["metric"]["tenant"], one["metric"]["product_type"]]
            assert float(one["value"][1]) == pytest.approx(activated / assigned)
        assert server.query('up{job="office365"}')[0]["value"][1] == "1"


def test_the_demo_tells_where_to_look_and_ends_with_code_0() -> None:
    """`demo` prints the addresses to try on stdout, logs to stderr only, and Ctrl-C ends it with code 0 within 5 s."""
    import signal  # noqa: PLC0415 - this test alone sends one

    words = [*COMMAND, "demo", "--tenants", "2", "--web.listen-address=127.0.0.1:0"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - started < 5
    assert "2 tenants, 90 days of history" in "".join(lines)
    assert "/metrics" in "".join(lines)
