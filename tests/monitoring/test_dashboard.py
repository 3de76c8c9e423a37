"""The Grafana dashboard: generated, importable, and true to the metrics' names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from tests.monitoring import dashboard
from tests.monitoring.names import unknown
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable

BOARD = Path(__file__).parent.parent.parent / "monitoring" / "dashboard.json"
VARIABLES = {"$__rate_interval": "5m", "$tenant": ".*", "$product_type": ".*"}


def panels() -> list[dict[str, Any]]:
    """Return the panels, without the rows between them."""
    found: list[dict[str, Any]] = json.loads(dashboard.as_json())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions(panel: dict[str, Any]) -> list[str]:
    """Return a panel's PromQL expressions, with values in the place of the variables."""
    found = [target["expr"] for target in panel["targets"]]
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    return found


EXPRESSIONS = [expression for panel in panels() for expression in expressions(panel)]


def test_generated(golden: Callable[[Path, str], None]) -> None:
    """The JSON in the repository is what the code makes."""
    golden(BOARD, dashboard.as_json())


def test_names() -> None:
    """Every metric on the dashboard is one that the exporter, or a recording rule, writes."""
    assert {name for expression in EXPRESSIONS for name in unknown(expression)} == set()


def test_expressions_parse(tmp_path: Path) -> None:
    """Every expression is valid PromQL, and no variable in it is unknown."""
    rules = [{"record": f"expression:{at}", "expr": text} for at, text in enumerate(EXPRESSIONS)]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    command = [str(require("promtool")), "check", "rules", "--lint=none", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not any("$" in text for text in EXPRESSIONS)


def test_layout() -> None:
    """Panels have titles, help and a data source to choose, and none covers another."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def any_value(schema: object) -> object:
    """Mend a habit of the schema's generator: it writes "any value" as an object of any values."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") == {}:
            return {}
        return {key: any_value(value) for key, value in schema.items()}
    return [any_value(value) for value in schema] if isinstance(schema, list) else schema


def test_schema() -> None:
    """Grafana's own JSON schema accepts the dashboard (where EXPORTER_DASHBOARD_SCHEMA names its file)."""
    file = os.environ.get("EXPORTER_DASHBOARD_SCHEMA")
    if not file:
        pytest.skip("optional: EXPORTER_DASHBOARD_SCHEMA names no JSON schema of Grafana's dashboards")
    schema = any_value(json.loads(Path(file).read_text("utf-8")))
    assert isinstance(schema, dict)
    jsonschema.validate(json.loads(dashboard.as_json()), schema)
