"""Rules and dashboards in real Prometheus, over the metrics of a real exporter and its past."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from monitoring.rules.__main__ import main
from tests.monitoring.backfilled import backfilled
from tests.monitoring.test_dashboards import BOARDS, expression, panels, shown_labels
from tests.process import Running
from tests.prometheus import prometheus
from tests.tools import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prometheus import Prometheus

pytestmark = pytest.mark.long

EMPTY = {
    "Failing reports": "every simulated tenant can be read",
    "Failing tenants by reason": "the same",
    "Failing now": "the same",
    "Failed polls an hour by reason": "the same",
    "Alerts": "no rules are loaded here",
}
"""Panels that show nothing on a healthy demo, and why."""


def health_of_rules(server: Prometheus) -> set[str]:
    """Return how the rules' last evaluations ended; unknown is one that has not been evaluated yet."""
    return {rule["health"] for group in server.ask("rules")["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("name", ["prometheus", "prometheus3"])
def test_rules(name: str, tmp_path: Path) -> None:
    """Every rule is evaluated, and so are the dashboards' queries where a tenant fails."""
    assert main(["--folder", str(tmp_path), "--set", "slow_interval=1s"]) == 0
    with (
        Running("demo", "--scenario", "no-consent", log=tmp_path / "log") as demo,
        prometheus(name, demo.address, tmp_path / "prometheus", rules=tmp_path / "rules.yml") as server,
    ):
        server.wait_for("tenant_reason:office365_activations_failing:primary")
        end = time.monotonic() + 180
        while "unknown" in (health := health_of_rules(server)) and time.monotonic() < end:
            time.sleep(0.1)
        assert health == {"ok"}
        for title in ("Failing reports", "Failing tenants by reason"):
            panel = next(panel for panel in panels("overview") if panel["title"] == title)
            assert server.query(expression(panel["targets"][0])), title


def test_every_panel_shows_something(tmp_path: Path) -> None:
    """Every query of every panel has data on the backfilled demo, and a table's queries no label it does not show."""
    names = ("prometheus", "prometheus3")
    for name in names:
        require(name)
    with backfilled(tmp_path, names=names) as servers:  # one past for both lines: half a minute to make
        for name, server in zip(names, servers, strict=True):
            assert empty_panels(server) == set(EMPTY), name
            for metric in ("assigned_users", "license_price"):
                now, before = (
                    server.query(f"count(office365_activations_{metric}{past})") for past in ("", " offset 80d")
                )
                assert before[0]["value"][1] == now[0]["value"][1], name


def empty_panels(server: Prometheus) -> set[str]:
    """Return the panels with a query that has no data; hold the others against what their kind shows."""
    empty = set()
    for board in BOARDS:
        for panel in panels(board):
            for target in panel["targets"]:
                found = server.query(expression(target, "contoso" if board == "tenant" else ".+"))
                if not found:
                    empty.add(panel["title"])
                elif panel["type"] == "table":
                    labels = {label for sample in found for label in sample["metric"]}
                    assert labels <= shown_labels(panel), (board, panel["title"], target["expr"])
                elif panel["type"] == "stat" and "{{" not in target.get("legendFormat", ""):
                    assert len(found) == 1, (board, panel["title"], found)
    return empty
