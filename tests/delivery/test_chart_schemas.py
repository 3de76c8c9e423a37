"""The Helm chart, held against Helm's lint, Kubernetes' schemas and, where they can be had, the operator's."""

from __future__ import annotations

import os
from typing import Any

import helm_python
import pytest

from tests.delivery.chart import CHART, every_values, render
from tests.delivery.manifests import custom_resource_errors, validate

KUBERNETES = [f"1.{minor}" for minor in range(28, 38)]


@every_values
@pytest.mark.parametrize("version", ["v1.28.0", "v1.37.0"])
def test_lint(values: dict[str, Any], version: str) -> None:
    """Helm's strict lint finds neither error nor warning."""
    report = helm_python.lint(CHART, values, strict=True, kube_version=version)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@every_values
def test_kubernetes(values: dict[str, Any]) -> None:
    """Every supported Kubernetes accepts each manifest, down to the last field."""
    for manifest in render(values):
        if not manifest["apiVersion"].startswith(("monitoring.coreos.com/", "cilium.io/")):
            for version in KUBERNETES:
                validate(manifest, version)


@every_values
def test_custom_resources(values: dict[str, Any]) -> None:
    """The operator's definitions accept monitors, rules and inhibitions (EXPORTER_CRD_SCHEMAS names their folder)."""
    if not os.environ.get("EXPORTER_CRD_SCHEMAS"):
        pytest.skip("optional: EXPORTER_CRD_SCHEMAS names no folder with the operator's definitions")
    for manifest in render(values):
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            assert custom_resource_errors(manifest) == []
