"""Every client that can be had reads a compressed scrape whole."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import httpx
import pytest
import requests

from tests.process import Running
from tests.tools import free_address, require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NODE = """
const http = require("http"), zlib = require("zlib");
const headers = {"Accept-Encoding": "gzip", "Accept": process.argv[2]};
http.get(process.argv[1], {headers}, (answer) => {
  if (answer.headers["content-encoding"] !== "gzip") process.exit(3);
  answer.pipe(zlib.createGunzip()).pipe(process.stdout);
});
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a demonstration in which every tenant has been polled."""
    with Running("demo", "--tenants", "100", log=tmp_path_factory.mktemp("demo") / "log") as made:
        # The first tenant has both reports; each one's first poll has ended once its line says so.
        polled = r"office365_activations_polls_total\{[^\n]*\} 1\.0\n"
        made.wait_until(f"^(?:{polled}){{101}}")
        yield made


def stable(text: str) -> list[str]:
    """Return the lines that do not change from scrape to scrape."""
    return [line for line in text.splitlines() if not re.match(r"(process_|.*scrape_duration)", line)]


def fetched(client: str, url: str, accept: str) -> str:
    """Return what a client makes of a compressed scrape."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    if client == "httpx":
        return httpx.get(url, headers=headers, trust_env=False).text
    if client == "requests":
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, headers=headers, timeout=60)
            answer.encoding = "utf-8"
            return answer.text
    words = {
        "curl": ["--silent", "--show-error", "--fail", "--compressed", "-H", f"Accept: {accept}", url],
        "node": ["-e", NODE, url, accept],
    }
    done = subprocess.run([str(require(client)), *words[client]], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
@pytest.mark.parametrize("client", ["curl", "node", "httpx", "requests"])
def test_a_compressed_scrape_is_the_plain_one(demo: Running, client: str, accept: str) -> None:
    """The gzip member that is spliced for each scrape is read to its end, and holds what a plain scrape does."""
    plain = demo.get("/metrics", **{"Accept": accept, "Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert stable(fetched(client, f"http://{demo.address}/metrics", accept)) == stable(plain.text)


def test_victoria_metrics_has_every_tenant(demo: Running, tmp_path: Path) -> None:
    """VictoriaMetrics scrapes all tenants with all their numbers."""
    program = require("victoria-metrics")
    scrape = {"job_name": "office365", "scrape_interval": "1s", "static_configs": [{"targets": [demo.address]}]}
    (tmp_path / "scrape.yml").write_text(json.dumps({"scrape_configs": [scrape]}), encoding="utf-8")
    address = free_address()
    words = [
        str(program),
        f"-promscrape.config={tmp_path / 'scrape.yml'}",
        f"-storageDataPath={tmp_path / 'data'}",
        f"-httpListenAddr={address}",
        "-search.latencyOffset=0s",
    ]
    expected = demo.metrics().count("\noffice365_activations_assigned_users{")
    query = "count(office365_activations_assigned_users) + 0 * sum(office365_activations_activated_users)"
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            end = time.monotonic() + 180
            found: list[str] = []
            while found != [str(expected)] and time.monotonic() < end:
                time.sleep(0.5)
                try:
                    answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query}, trust_env=False)
                except httpx.TransportError:
                    continue
                found = [one["value"][1] for one in answer.json()["data"]["result"]]
        finally:
            process.terminate()
    assert found == [str(expected)]
