"""How long newcomers wait for the first numbers, graph and alert, on each way that the README names: `make first-look`.

Programs, scrape intervals and rules with their durations are those that are shipped; each way is held to its row of the
table in docs/alerts.md. The alert takes minutes: `make test` leaves this out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from tests.delivery import release
from tests.delivery.chart import CI, ROOT, one, render
from tests.delivery.container import Container
from tests.delivery.pod import NAMESPACES, Pod
from tests.delivery.pod import _configure_loopback as configure_loopback
from tests.delivery.pod import _simulator as pods_simulator
from tests.delivery.stack import running
from tests.delivery.test_systemd import INSTALL, Machine, commands, configure
from tests.docs.markdown import blocks
from tests.full_simulator import Simulator, SimulatorServer
from tests.monitoring.test_dashboards import expression, panels
from tests.prometheus import Prometheus, prometheus
from tests.tools import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.delivery.image_checks import Image

pytest_plugins = ("tests.delivery.image_checks", "tests.delivery.test_systemd")

RULES = ROOT / "monitoring/rules.yml"
ALERT = "Office365CredentialExpiring"
LONGEST = 1200.0
GRAPH = next(panel for panel in panels("overview") if panel["type"] == "timeseries")

Seen = dict[str, float | str]


def main() -> int:
    """Run, in namespaces of its own, the way that the command line names, and print what was seen as JSON."""
    way, folder = sys.argv[1], Path(sys.argv[2])
    seen = {"chart": chart, "compose": compose}[way](folder)
    json.dump(seen, sys.stdout)
    return 0


def chart(folder: Path) -> Seen:
    """Run the pod that `--set demo=true` gives, and a Prometheus with what ServiceMonitor and PrometheusRule say."""
    manifests = render(CI["demo"] | {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}})
    (endpoint,) = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump(one(manifests, "PrometheusRule")["spec"]), "utf-8")
    configure_loopback()
    with SimulatorServer(pods_simulator()) as server:
        pod = Pod(manifests, CI["demo"], server, folder)
        began = time.monotonic()
        try:
            pod.start()
            with shipped("127.0.0.1:9365", folder / "prometheus", rules, endpoint["interval"]) as watcher:
                return watch(began, "127.0.0.1:9365", watcher)
        finally:
            pod.kill()


def compose(folder: Path) -> Seen:
    """Run the processes of compose.yaml, whose Prometheus has its own file."""
    began = time.monotonic()
    with running(folder) as processes:
        watcher = Prometheus("127.0.0.1:9090", processes["prometheus"], folder / "log")
        return watch(began, "127.0.0.1:9365", watcher)


@contextmanager
def shipped(address: str, folder: Path, rules: Path = RULES, interval: str = "") -> Iterator[Prometheus]:
    """Run a Prometheus as docs/prometheus.md configures it, with another scrape interval where one is given."""
    (text,) = (block.text for block in blocks(ROOT / "docs/prometheus.md") if block.text.startswith("# prometheus.yml"))
    document: dict[str, Any] = yaml.safe_load(text)
    (scrape,) = document["scrape_configs"]
    scrape["static_configs"] = [{"targets": [address]}]
    scrape["scrape_interval"] = interval or scrape["scrape_interval"]
    more = {"global": {}, "rule_files": [str(rules)], "scrape_configs": [scrape]}
    with prometheus("prometheus3", address, folder, more=more) as server:
        yield server


def watch(began: float, address: str, server: Prometheus, tenants: int = 3) -> Seen:
    """Return the seconds until each of three things is there."""
    seen: Seen = {}
    while len(seen) < 3:
        assert time.monotonic() - began < LONGEST, f"seen: {seen}"
        assert server._process.poll() is None, "Prometheus has ended"
        time.sleep(0.5)
        try:
            if "numbers" not in seen and shown(address) == tenants:
                seen["numbers"] = time.monotonic() - began
            if "graph" not in seen and drawn(server):
                seen["graph"] = time.monotonic() - began
            if firing := server.query('ALERTS{alertstate="firing"}'):
                assert {one["metric"]["alertname"] for one in firing} == {ALERT}
                seen["alert"] = time.monotonic() - began
        except httpx.HTTPError:  # one does not listen yet
            continue
    return seen


def shown(address: str) -> int:
    """Return how many tenants have their numbers on /metrics."""
    text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    return len(set(re.findall(r'^office365_activations_assigned_users{.*?tenant="([^"]+)"', text, re.MULTILINE)))


def drawn(server: Prometheus) -> bool:
    """Tell whether the first graph of the overview has a line: two points at least."""
    now = time.time()
    query = expression(GRAPH["targets"][0])
    result = server.ask("query_range", query=query, start=now - 900, end=now, step=15)["result"]
    return any(len(series["values"]) > 1 for series in result)


def hold(way: str, seen: Mapping[str, float | str]) -> None:
    """Hold what was seen against the row of the way in docs/alerts.md, and print it."""
    page = (ROOT / "docs/alerts.md").read_text("utf-8")
    (row,) = re.findall(rf"^\| {way}[^|]*\| (\d+) s \| ([\d.]+) min \| ([\d.]+) min \|$", page, re.MULTILINE)
    numbers, graph, alert = float(row[0]), float(row[1]) * 60, float(row[2]) * 60
    figures = {name: round(float(seconds), 1) for name, seconds in seen.items()}
    print(f"{way}: {figures}")  # noqa: T201 - the figures that people want to see
    assert figures["numbers"] <= numbers
    assert figures["graph"] <= graph
    assert figures["alert"] <= alert


def test_pip(tmp_path: Path) -> None:
    """A wheel that is installed by pip into an environment of its own, and `demo`."""
    wheel = release.build(tmp_path / "dist")
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run([str(tmp_path / "venv/bin/pip"), "install", "--quiet", str(wheel)], check=True)
    print(f"pip install: {time.monotonic() - began:.0f} s")  # noqa: T201 - as above
    address = free_address()
    command = [str(tmp_path / "venv/bin" / release.NAME), "demo", f"--web.listen-address={address}"]
    began = time.monotonic()
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with shipped(address, tmp_path / "prometheus") as server:
                seen = watch(began, address, server)
        finally:
            process.terminate()
    hold("`demo`", seen)


def test_image(image: Image, tmp_path: Path) -> None:
    """The image's `demo`, as docs/image.md runs it."""
    (tmp_path / "files").mkdir()
    address = free_address()
    variables = {"OFFICE365_EXPORTER_WEB__LISTEN_ADDRESS": address}
    began = time.monotonic()
    with (
        Container(image.root, image.config | {"Cmd": ["demo"]}, variables, tmp_path, temporary=True),
        shipped(address, tmp_path / "prometheus") as server,
    ):
        seen = watch(began, address, server)
    hold("image", seen)


@pytest.mark.parametrize("way", ["chart", "compose"])
def test_in_namespaces(way: str, tmp_path: Path) -> None:
    """The chart's pod, and the processes of compose.yaml, in a network of their own."""
    command = [*NAMESPACES, sys.executable, "-m", "tests.delivery.first_look", way, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    hold(way, json.loads(ended.stdout))


def test_systemd(machine: Machine, work: Path, tmp_path: Path) -> None:
    """The commands of docs/systemd.md, for tenants whose secret ends in 20 days and is told so."""
    with SimulatorServer(Simulator(tenants=2, shared_app=True)) as server:
        address = configure(server, work, tenants=2)
        environment = work / "environment"
        ends = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
        environment.write_text(environment.read_text("utf-8").replace("2099-01-31", ends), "utf-8")
        machine.run(*INSTALL, "environment", "ca.pem", folder=work)
        began = time.monotonic()
        machine.run("sh", "-ec", commands()[0], folder=work)
        with shipped(address, tmp_path / "prometheus") as watcher:
            seen = watch(began, address, watcher, tenants=2)
    hold("systemd", seen)


if __name__ == "__main__":
    sys.exit(main())
