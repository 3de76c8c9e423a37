"""The rules, held against real promtool of both lines, the metrics' names and the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.names import RECORDED, metrics_in, unknown
from tests.tools import require

HERE = Path(__file__).parent
MONITORING = HERE.parent.parent / "monitoring"
RULES = MONITORING / "rules.yml"
UNIT_TESTS = HERE / "rules_test.yml"


def rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def promtool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and return how it ended."""
    return subprocess.run([require(name), *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", ["promtool", "promtool3"])
def test_valid(name: str) -> None:
    """Prometheus 2 and 3 accept the rules, without a remark of their linter."""
    ended = promtool(name, "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["promtool", "promtool3"])
def test_behaviour(name: str) -> None:
    """Each alert rings when it should and not before, in Prometheus 2 and 3."""
    ended = promtool(name, "test", "rules", UNIT_TESTS)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@alert
def test_every_alert_is_tested(rule: dict[str, Any]) -> None:
    """No alert goes without a unit test."""
    assert rule["alert"] in UNIT_TESTS.read_text("utf-8")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_names(rule: dict[str, Any]) -> None:
    """A rule reads only metrics that the exporter, or a rule, writes."""
    assert unknown(rule["expr"]) == set()


def test_recorded_names() -> None:
    """The recording rules write exactly the names that the dashboard may read beside the exporter's."""
    assert {rule["record"] for rule in rules() if "record" in rule} == RECORDED


@alert
def test_words(rule: dict[str, Any]) -> None:
    """Every alert has a severity, one line of summary, a description and its section in the runbook."""
    annotations = rule["annotations"]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(annotations) == {"summary", "description", "runbook"}
    assert "\n" not in annotations["summary"]
    file, _, anchor = annotations["runbook"].partition("#")
    assert file == "monitoring/runbook.md"
    sections = re.findall(r"^## (\S+)$", (MONITORING / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert rule["alert"] in sections
    assert anchor == rule["alert"].lower()


def test_runbook_is_not_ahead() -> None:
    """The runbook has no section for an alert that is gone."""
    sections = re.findall(r"^## (\S+)$", (MONITORING / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert set(sections) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('sum by (reason) (increase(a_total{b="c and d"}[5m])) or vector(0)', {"a_total"}),
        ("a:b / on (x) group_left (y) (c > 0) unless ignoring (z) d", {"a:b", "c", "d"}),
        ("time() - e < 48 * 3600", {"e"}),
    ],
)
def test_metrics_in(expression: str, expected: set[str]) -> None:
    """The names are found in an expression without taking labels, functions or words for them."""
    assert metrics_in(expression) == expected
