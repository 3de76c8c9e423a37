"""The Helm chart, rendered by real Helm with each file of values in its `ci/`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "office365-activations-exporter"
CI: dict[str, dict[str, Any]] = {
    path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text("utf-8"))
    for path in sorted((CHART / "ci").glob("*.yaml"))
}
every_values = pytest.mark.parametrize("values", CI.values(), ids=CI.keys())


_BASE: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class StrictLoader(_BASE):  # type: ignore[misc] # one of two
    """YAML that refuses a key that stands twice, as the API server does with strict validation."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        """Return the map of a node."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubled = {key for key in keys if keys.count(key) > 1}
        if doubled:
            raise yaml.constructor.ConstructorError(None, None, f"keys stand twice: {doubled}", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


@cache
def loaded() -> helm_python.Chart:
    """Return the chart, loaded once."""
    return helm_python.Chart.load(CHART)


def texts(values: dict[str, Any], name: str = "release") -> dict[str, str]:
    """Return the text of each template, rendered by Helm."""
    loaded().validate_schema(values)
    prefix = f"{CHART.name}/templates/"
    rendered = loaded().render(values, name=name, namespace="monitoring")
    return {path.removeprefix(prefix): text for path, text in sorted(rendered.items())}


def render(values: dict[str, Any], name: str = "release") -> list[dict[str, Any]]:
    """Return every manifest that Helm makes of the values."""
    return manifests_of(texts(values, name))


def manifests_of(rendered: dict[str, str]) -> list[dict[str, Any]]:
    """Return every manifest of rendered templates."""
    return [
        manifest
        for path, text in rendered.items()
        if path.endswith(".yaml")
        for manifest in yaml.load_all(text, StrictLoader)
        if manifest
    ]


def one(manifests: list[dict[str, Any]], kind: str, suffix: str = "") -> dict[str, Any]:
    """Return the only manifest of a kind whose name ends so."""
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(suffix)]
    return found


def workload(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the StatefulSet or Deployment."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] in {"StatefulSet", "Deployment"}]
    return found


def container(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the exporter's container."""
    found: dict[str, Any] = workload(manifests)["spec"]["template"]["spec"]["containers"][0]
    return found
