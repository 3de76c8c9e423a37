"""Rules and dashboard in real Prometheus, over the metrics of a real exporter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring.test_dashboard import expressions, panels
from tests.process import Running
from tests.prometheus import prometheus

RULES = Path(__file__).parent.parent.parent / "monitoring" / "rules.yml"
MAY_BE_EMPTY = {"Credentials", "Next expiry", "Activations by platform", "Troubles"}


@pytest.mark.parametrize("name", ["prometheus", "prometheus3"])
def test_rules_and_dashboard(name: str, tmp_path: Path) -> None:
    """Every rule is evaluated, and every panel has something to show."""
    with (
        Running("demo", "--scenario", "no-consent", log=tmp_path / "log") as demo,
        prometheus(name, demo.address, tmp_path / "prometheus", rules=RULES) as server,
    ):
        server.wait_for("rate(process_cpu_seconds_total[1m])")
        server.wait_for("tenant_reason:office365_activations_failing:primary")
        rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        for panel in panels():
            for expression in expressions(panel):
                assert server.query(expression) or panel["title"] in MAY_BE_EMPTY, expression
