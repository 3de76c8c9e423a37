"""docs/api.md, made from the routes of the web server and the classes of the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from exporter.config import Web
from exporter.status import json_schema
from exporter.web.site import Site, Source
from tests.docs.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ANSWERS = {
    "/": "status page for people; `?tenant=NAME` one tenant; 404 if it is not configured",
    "/metrics": (
        "all metrics: text 0.0.4 or OpenMetrics 1.0.0, plain or gzip, as asked for; `?tenant=NAME` (repeatable) only "
        "these tenants' series, 404 if one is not configured; 503 with `Retry-After` until the first rendering is done"
    ),
    "/api/v1/status": "the status page's content as JSON, as below; `?tenant=NAME` one tenant with 90 days",
    "/-/healthy": "200 while the process works, whatever Microsoft does",
    "/-/ready": "200 once configuration, storage and the first rendering are done, else 503; whatever Microsoft does",
    "/-/reload": (
        "reads the configuration again: 200 if it is in force, 500 with the errors if not; 403 without "
        "`--web.enable-lifecycle`, or for a browser's page of another origin"
    ),
}
HEAD = """# Endpoints

<!-- Made from the code by tests/docs; `pytest tests/docs --update-golden` writes it. -->

| path | methods | password | answer |
| --- | --- | --- | --- |
{routes}

The paths are those without flags: `--web.telemetry-path` moves `/metrics`, `--web.route-prefix` moves all. Another path
is 404, another method 405. 429 and 503 name in `Retry-After` when to try again; they are sent when more is in progress
than the [bounds](web-configuration.md#what-one-client-can-hold) allow.

## Status as JSON

`/api/v1/status` answers with one object, `Status`. Keys may be added: ignore those that you do not know. For programs:
[status.schema.json](status.schema.json).
"""


def kind(schema: Mapping[str, Any]) -> str:
    """Return a type in words."""
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    if schema.get("type") == "object":
        return f"map of {kind(schema['additionalProperties'])}"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    return str(schema.get("format", schema["type"]))


def section(name: str, schema: Mapping[str, Any]) -> str:
    """Return the section of one class."""
    lines = [f"\n### {name}\n", schema.get("description", "").partition("\n")[0], ""]
    if "enum" in schema:
        return "\n".join([*lines, kind(schema), ""])
    rows = [
        f"| `{key}` | {kind(one)} | {one.get('description', '')} |".replace("|  |", "| |")
        for key, one in schema["properties"].items()
    ]
    return "\n".join([*lines, "| key | type | |", "| --- | --- | --- |", *rows, ""])


def test_the_page_is_the_codes_own(golden: Callable[[Path, str], None]) -> None:
    """The page has every path with its methods and password, and every key of the status with its type."""
    routes = Site(cast("Source", None), Web())._routes
    assert set(routes) == set(ANSWERS)
    password = {path: "not needed" if route.open else "as configured" for path, route in routes.items()}
    rows = [
        f"| `{path}` | {', '.join(routes[path].methods)} | {password[path]} | {answer} |"
        for path, answer in ANSWERS.items()
    ]
    schema = json_schema()
    parts = [section("Status", schema), *(section(name, part) for name, part in schema["$defs"].items())]
    golden(ROOT / "docs/api.md", HEAD.format(routes="\n".join(rows)) + "".join(parts))
