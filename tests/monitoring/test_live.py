"""Rules and dashboard in real Prometheus, over the metrics of a real exporter."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.monitoring.test_dashboard import expressions, panels
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = Path(__file__).parent.parent.parent / "monitoring" / "rules.yml"
PATIENCE = 60.0
"""Seconds after which waiting is given up; on an idle machine it takes some five."""

MAY_BE_EMPTY = {"Credentials", "Next expiry", "Activations by platform", "Troubles"}


@dataclass(frozen=True)
class Program:
    """A program in the background, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def until(self, found: Callable[[], Any]) -> Any:
        """Return the first answer that is not empty; a failed test once it has ended or patience has."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):  # it does not listen yet
                if answer := found():
                    return answer
            ended = self.process.poll() is not None or time.monotonic() > deadline
            assert not ended, self.log.read_text("utf-8")
            time.sleep(0.1)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[Program]:
    """Run a program in the background, and end it at the end."""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield Program(process, log)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Ask = Callable[..., Any]


@pytest.fixture(params=["prometheus", "prometheus3"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ask]:
    """Start a demo whose polls fail, and a Prometheus that has scraped it for a while; ask the latter's HTTP API."""
    program, port = require(request.param), free_port()

    def answer(path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urlencode(query)}"
        with urlopen(url, timeout=PATIENCE) as response:
            return json.load(response)["data"]

    log = tmp_path / "demo.log"
    arguments = ["demo", "--scenario", "no-consent", "--web.listen-address=127.0.0.1:0"]
    with running([sys.executable, "-m", "exporter", *arguments], log) as demo:
        address = demo.until(lambda: re.search(r"addresses=(\S+)", log.read_text("utf-8")))[1]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "licences", "static_configs": [{"targets": [address]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        command = [str(program), "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
        with running([*command, "--storage.tsdb.path=data"], tmp_path / "prometheus.log") as prometheus:
            prometheus.until(lambda: answer("query", query="rate(process_cpu_seconds_total[1m])")["result"])
            prometheus.until(lambda: answer("query", query="ALERTS")["result"])
            yield answer


def test_rules_and_dashboard(ask: Ask) -> None:
    """Every rule is evaluated, the right alert is on its way, and every panel has something to show."""
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    alerts = {sample["metric"]["alertname"] for sample in ask("query", query="ALERTS")["result"]}
    assert alerts == {"Office365TenantNeedsMending"}
    for panel in panels():
        for expression in expressions(panel):
            assert ask("query", query=expression)["result"] or panel["title"] in MAY_BE_EMPTY, expression
