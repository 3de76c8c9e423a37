"""The Grafana dashboards: generated, importable, true to the metrics' names, within the rules of dashboard-linter."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from monitoring.addresses import runbook
from monitoring.dashboards.__main__ import FOLDER, files
from tests.monitoring.names import unknown
from tests.monitoring.promtool import promtool
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOARDS: dict[str, dict[str, Any]] = {name.removesuffix(".json"): json.loads(text) for name, text in files().items()}
VARIABLES = {"$__rate_interval": "5m", "$__range": "1d", "$job": ".+", "$instance": ".+", "$product_type": ".+"}
each_board = pytest.mark.parametrize("name", BOARDS)


def panels(name: str) -> Iterator[dict[str, Any]]:
    """Yield a dashboard's panels, without the rows between them."""
    yield from (panel for panel in BOARDS[name]["panels"] if panel["type"] != "row")


def shown_labels(panel: dict[str, Any]) -> set[str]:
    """Return the labels that a table shows."""
    organize = next(step for step in panel["transformations"] if step["id"] == "organize")
    return {name for name in organize["options"]["renameByName"] if not name.startswith("Value")}


def expression(target: dict[str, Any], tenant: str = ".+") -> str:
    """Return a query's PromQL, with values in the place of the variables."""
    text: str = target["expr"]
    for name, value in (VARIABLES | {"${tenant:regex}": tenant}).items():
        text = text.replace(name, value)
    return text


TARGETS = [
    pytest.param(panel, target, id=f"{name}: {panel['title']}: {target['refId']}")
    for name in BOARDS
    for panel in panels(name)
    for target in panel["targets"]
]
each_target = pytest.mark.parametrize(("panel", "target"), TARGETS)


def test_generated(golden: Callable[[Path, str], None]) -> None:
    """The JSON in the repository is what the code makes."""
    for name, text in files().items():
        golden(FOLDER / name, text)


def test_expressions_parse(tmp_path: Path) -> None:
    """Every expression is valid PromQL, and no variable in it is unknown."""
    texts = [expression(target) for name in BOARDS for panel in panels(name) for target in panel["targets"]]
    rules = [{"record": f"expression:{at}", "expr": text} for at, text in enumerate(texts)]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), "utf-8")
    command = [str(require("promtool")), "check", "rules", "--lint=none", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not any("$" in text for text in texts)


@each_target
def test_a_query_reads_what_exists(panel: dict[str, Any], target: dict[str, Any]) -> None:
    """Every metric is one that the exporter, Prometheus or the process collector writes."""
    assert unknown(expression(target)) == set()


@each_target
def test_a_query_of_a_table_is_instant(panel: dict[str, Any], target: dict[str, Any]) -> None:
    """A table and a figure show the present moment."""
    assert target.get("instant", False) is (panel["type"] != "timeseries")
    assert target.get("format") == ("table" if panel["type"] == "table" else None)


@each_target
def test_unknown_is_never_zero(panel: dict[str, Any], target: dict[str, Any]) -> None:
    """No query makes a number up where there is none."""
    assert "vector(" not in target["expr"].replace(" ", "")


@each_target
def test_rates_fit_the_scrape_interval(panel: dict[str, Any], target: dict[str, Any]) -> None:
    """Rates take Grafana's own interval, and counters are never shown as they are."""
    for window in re.findall(r"(?:rate|increase)\([^[]*\[([^]]*)\]", target["expr"]):
        assert window == "$__rate_interval"
    for counter in re.findall(r"\w+_total\b[^)]*\)", target["expr"]):
        assert "[$__rate_interval]" in counter


@each_target
def test_a_query_keeps_to_the_chosen_jobs(panel: dict[str, Any], target: dict[str, Any]) -> None:
    """Every selector names the dashboard's job; only the alert state is matched on what a first selector chose."""
    selectors = re.findall(r"\w+(\{[^}]*\})", target["expr"])
    assert selectors
    assert all('job=~"$job"' in selector or selector == '{alertstate="firing"}' for selector in selectors)


def test_any_name_of_a_tenant(tmp_path: Path) -> None:
    """The dashboard of one tenant shows that one, whichever characters its name has; so does a link to it."""
    names = ["contoso", "contoso (EU)", "a.b", "a-b", "R&D #1 + 1", 'O\'Neil "x"', "c:\\d", "[x]|$y{2}?*^/"]
    target = next(panel for panel in panels("tenant") if panel["title"] == "Products")["targets"][0]
    series = [
        {
            "series": f'office365_activations_assigned_users{{job="j",product_type="p",tenant={json.dumps(name)}}}',
            "values": f"{number}x1",
        }
        for number, name in enumerate(names)
    ]
    tests = []
    for number, name in enumerate(names):
        escaped = re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", name)  # as Grafana's format `regex` does
        shown = [{"labels": '{product_type="p"}', "value": number}]
        tests.append({"expr": expression(target, escaped), "eval_time": "1m", "exp_samples": shown})
    file = tmp_path / "names.yml"
    document = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}]}
    file.write_text(yaml.safe_dump(document), "utf-8")
    ended = promtool("promtool", "test", "rules", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    links = re.findall(r'"url": "/d/office365-tenant[^"]*&var-tenant=([^"]*)"', json.dumps(BOARDS))
    assert set(links) == {"${__data.fields.Tenant:percentencode}"}  # Grafana by itself leaves & # + as they are


@each_board
def test_panels(name: str) -> None:
    """Panels have title, help, unit and a data source to choose, and none covers another."""
    taken: set[tuple[int, int]] = set()
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@each_board
def test_variables(name: str) -> None:
    """Data source, job and what the dashboard is about can be chosen; choices follow the time range."""
    source, *others = BOARDS[name]["templating"]["list"]
    assert (source["name"], source["label"], source["type"]) == ("datasource", "Data source", "datasource")
    expected = {
        "overview": ["job", "tenant", "product_type"],
        "tenant": ["job", "tenant", "product_type"],
        "exporter": ["job", "instance"],
    }
    assert [variable["name"] for variable in others] == expected[name]
    for variable in others:
        assert variable["datasource"]["uid"] == "${datasource}"
        assert variable["refresh"] == 2
        if (name, variable["name"]) != ("tenant", "tenant"):  # one tenant at a time
            assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")


@each_board
def test_links(name: str) -> None:
    """Each dashboard leads to the others and to the runbook; tables lead to a tenant's dashboard by its uid."""
    dashboards, book = BOARDS[name]["links"]
    assert dashboards["type"] == "dashboards"
    assert set(dashboards["tags"]) <= set(BOARDS[name]["tags"])
    assert book["url"] == runbook()
    assert BOARDS[name]["uid"] == f"office365-{name}"
    assert not BOARDS[name]["editable"]
    links = re.findall(r'"url": "(/d/[^?"]*)', json.dumps(BOARDS[name]))
    assert set(links) <= {"/d/office365-tenant"}
    assert links or name == "tenant"


def any_value(schema: object) -> object:
    """Correct a habit of the schema's generator: it writes "any value" as an object of any values."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") == {}:
            return {}
        return {key: any_value(value) for key, value in schema.items()}
    return [any_value(value) for value in schema] if isinstance(schema, list) else schema


@each_board
def test_schema(name: str) -> None:
    """Grafana's own JSON schema accepts the dashboard (where EXPORTER_DASHBOARD_SCHEMA names its file)."""
    file = os.environ.get("EXPORTER_DASHBOARD_SCHEMA")
    if not file:
        pytest.skip("optional: EXPORTER_DASHBOARD_SCHEMA names no JSON schema of Grafana's dashboards")
    schema = any_value(json.loads(Path(file).read_text(encoding="utf-8")))
    assert isinstance(schema, dict)
    jsonschema.validate(BOARDS[name], schema)
