"""Rules and dashboard in real Prometheus, over the metrics of a real exporter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from monitoring.rules.__main__ import main
from tests.monitoring.test_dashboard import expressions, panels
from tests.process import Running
from tests.prometheus import prometheus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prometheus import Prometheus

MAY_BE_EMPTY = {"Credentials", "Next expiry", "Activations by platform", "Troubles"}


def health_of_rules(server: Prometheus) -> set[str]:
    """Return how the rules' last evaluations ended; unknown is one that has not been evaluated yet."""
    return {rule["health"] for group in server.ask("rules")["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("name", ["prometheus", "prometheus3"])
def test_rules_and_dashboard(name: str, tmp_path: Path) -> None:
    """Every rule is evaluated, and every panel has something to show."""
    assert main(["--folder", str(tmp_path), "--set", "slow_interval=1s"]) == 0
    with (
        Running("demo", "--scenario", "no-consent", log=tmp_path / "log") as demo,
        prometheus(name, demo.address, tmp_path / "prometheus", rules=tmp_path / "rules.yml") as server,
    ):
        server.wait_for("rate(process_cpu_seconds_total[1m])")
        server.wait_for("tenant_reason:office365_activations_failing:primary")
        end = time.monotonic() + 60
        while "unknown" in (health := health_of_rules(server)) and time.monotonic() < end:
            time.sleep(0.1)
        assert health == {"ok"}
        for panel in panels():
            for expression in expressions(panel):
                assert server.query(expression) or panel["title"] in MAY_BE_EMPTY, expression
