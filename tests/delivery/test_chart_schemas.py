"""The Helm chart, held against Helm's lint, Kubernetes' schemas and, where they can be had, the operator's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.delivery.chart import CHART, every_values, render

KUBERNETES = [f"1.{minor}" for minor in range(25, 38)]


@every_values
@pytest.mark.parametrize("version", ["v1.25.0", "v1.37.0"])
def test_lint(values: dict[str, Any], version: str) -> None:
    """Helm's strict lint finds neither error nor warning."""
    report = helm_python.lint(CHART, values, strict=True, kube_version=version)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@every_values
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes(values: dict[str, Any], version: str) -> None:
    """Every supported Kubernetes accepts each manifest, down to the last field."""
    for manifest in render(values):
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            continue
        kubernetes_validate.validate(manifest, version, strict=True)


def definitions(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the schema of each custom resource, by kind, from the definitions in a folder."""
    found = {}
    for path in folder.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text("utf-8"))["spec"]
        found[spec["names"]["kind"]] = spec["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def closed(schema: Any) -> Any:
    """Return the schema refusing unknown fields, as the API server does with strict validation."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(pattern := result.get("pattern"), str):
        result["pattern"] = pattern.replace("^(?i)", "(?i)^")  # Go takes flags anywhere, Python at the start
    if "properties" in result and isinstance(result["properties"], dict) and "type" in result:
        result.setdefault("additionalProperties", bool(result.get("x-kubernetes-preserve-unknown-fields")))
    return result


@every_values
def test_custom_resources(values: dict[str, Any]) -> None:
    """The operator's definitions accept monitors and rules (EXPORTER_CRD_SCHEMAS names their folder)."""
    folder = os.environ.get("EXPORTER_CRD_SCHEMAS")
    if not folder:
        pytest.skip("optional: EXPORTER_CRD_SCHEMAS names no folder with the operator's definitions")
    schemas = definitions(Path(folder))
    for manifest in render(values):
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            schema = closed(schemas[manifest["kind"]])
            schema["properties"]["metadata"] = {"type": "object"}
            jsonschema.validate(manifest, schema)
