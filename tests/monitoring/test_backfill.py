"""The past in Prometheus: stored reports, and what the rules would have recorded of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from exporter.cli import demo
from exporter.cli.simulator import write_configuration
from exporter.config import load
from tests.full_simulator import Simulator, SimulatorServer
from tests.monitoring.promtool import promtool
from tests.process import run
from tests.prometheus import prometheus
from tests.tools import free_address, require

RULES = Path(__file__).parent.parent.parent / "monitoring" / "backfill_rules.yml"
DAY = 86400
RECORDED = (
    "tenant_product:office365_activations_activated_per_assigned:ratio",
    "tenant:office365_activations_activated_per_assigned:ratio",
    "job:office365_activations_activated_per_assigned:ratio",
    "job:office365_activations_assignments:sum",
)
RAW = ("assigned_users", "target_ratio", "report_refresh_timestamp_seconds")


@pytest.mark.parametrize("line", ["", "3"])
def test_the_past_is_complete(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the documented steps Prometheus has each past day's numbers, targets and dates, and the recorded ratios."""
    monkeypatch.setattr(demo, "_DAYS", 3)
    require("promtool" + line)
    now = time.time()
    with SimulatorServer(Simulator()) as server:
        config_file = write_configuration(server, tmp_path, demo=True)
        assert demo.seed_history(load({"config.file": str(config_file)}, {}), server.simulator, now) == 3
    data = tmp_path / "prometheus" / "data"
    data.mkdir(parents=True)
    until = int(now) - 4 * 3600
    labels = ("--label", "job=office365", "--label", "instance=localhost:9365")
    chosen = ("--config.file", str(config_file), "--format", "openmetrics", "--until", stamp(until))
    written = run("history", *chosen, *labels)
    assert written.returncode == 0, written.stderr
    (tmp_path / "history.om").write_text(written.stdout, "utf-8")
    blocks = ("tsdb", "create-blocks-from")
    ended = promtool(
        "promtool" + line, *blocks, "openmetrics", "--max-block-duration=720h", tmp_path / "history.om", data
    )
    assert ended.returncode == 0, ended.stderr
    past = f"@ {until - DAY}"
    with prometheus("prometheus" + line, free_address(), tmp_path / "prometheus") as server:
        for name in RAW:
            server.wait_for(f"count(office365_activations_{name} {past}) >= 3")
        ended = promtool(
            "promtool" + line,
            *(*blocks, "rules", "--url", f"http://{server.address}", "--eval-interval", "4m"),
            *(
                "--start",
                stamp(until - DAY - 3 * 3600),
                "--end",
                stamp(until - DAY + 3 * 3600),
                "--output-dir",
                data,
                RULES,
            ),
        )
        assert ended.returncode == 0, ended.stderr
    with prometheus("prometheus" + line, free_address(), tmp_path / "prometheus") as server:
        for name in RECORDED:
            server.wait_for(f"{name} {past}")
        expected = "office365_activations_activated_users / office365_activations_assigned_users"
        same = f"abs(({expected}) - on (tenant, product_type) {RECORDED[0]}) < 1e-9"
        products = server.query(f"count(office365_activations_assigned_users {past})")[0]["value"][1]
        counted = server.query(
            f"count({same.replace('_users', f'_users {past}').replace(RECORDED[0], f'{RECORDED[0]} {past}')})"
        )
        assert counted[0]["value"][1] == products


def stamp(moment: int) -> str:
    """Return a time as history and promtool read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
