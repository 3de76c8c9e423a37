"""A real Prometheus that scrapes what a test wants it to."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx

from tests.tools import free_address, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Prometheus:
    """A running Prometheus.

    Args:
        address: of its HTTP API.
        process: which it is.
        log: where it says what it does.
    """

    def __init__(self, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.address = address
        self._process = process
        self._log = log

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Return the `data` of an endpoint of its HTTP API (prometheus.io/docs/prometheus/latest/querying/api)."""
        url = f"http://{self.address}/api/v1/{path}"
        answer = httpx.get(url, params=parameters, timeout=120, trust_env=False)
        answer.raise_for_status()
        return answer.json()["data"]

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        result: list[dict[str, Any]] = self.ask("query", query=promql)["result"]
        return result

    def wait_for(self, promql: str, seconds: float = 180) -> list[dict[str, Any]]:
        """Return the first result of a query that has one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(httpx.HTTPError):  # it does not listen yet
                if result := self.query(promql):
                    return result
            time.sleep(0.1)
        raise AssertionError(f"no result for {promql}; Prometheus' log:\n{self._log.read_text('utf-8')}")


@contextmanager
def prometheus(
    name: str,
    target: str,
    folder: Path,
    *,
    rules: Path | None = None,
    labels: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Iterator[Prometheus]:
    """Run a Prometheus in `folder`, on the data in its `data`, that scrapes and evaluates each second.

    Args:
        name: of the program, for `tests.tools.require`.
        target: host and port to scrape.
        folder: where configuration, data and log go.
        rules: a file of rules to load.
        labels: of the target's series.
        job: further settings of the scrape: scheme, TLS, passwords.
        more: further parts of the configuration, in the place of those made here.
    """
    program = require(name)
    folder.mkdir(exist_ok=True)
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {
                "job_name": "office365",
                "static_configs": [{"targets": [target], "labels": dict(labels or {})}],
                **(job or {}),
            }
        ],
    }
    configuration |= more or {}
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    address = free_address()
    words = [
        str(program),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=5y",
        f"--web.listen-address={address}",
    ]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            yield Prometheus(address, process, log)
        finally:
            process.terminate()
