"""The Helm chart: what it makes of its values."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

from exporter import __version__
from tests.delivery.chart import CHART, ROOT, VALUES, every_values, one, render

if TYPE_CHECKING:
    from pathlib import Path


@every_values
def test_hardened(values: dict[str, Any]) -> None:
    """The pod meets Kubernetes' restricted standard, writes only where it must, and is never there twice."""
    spec = one(render(values), "Deployment")["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable - {"/more"} == {"/tmp", "/var/lib/office365-activations-exporter"}  # noqa: S108 - a pod's own
    assert not any("subPath" in mount for mount in container["volumeMounts"])
    assert "memory" in container["resources"]["limits"]


@every_values
def test_mounts(values: dict[str, Any]) -> None:
    """Each volume is mounted, each mount has its volume, and each file named in the arguments is mounted."""
    pod = one(render(values), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folders = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    for argument in container["args"]:
        if match := re.fullmatch(r"--[\w.]+\.file=(.+)/[^/]+", argument):
            assert match[1] in folders


@every_values
def test_selectors(values: dict[str, Any]) -> None:
    """Service, monitors and network policy find the pod."""
    manifests = render(values)
    pod = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    service = one(manifests, "Service")
    selectors = [one(manifests, "Deployment")["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    for manifest in manifests:
        if manifest["kind"] in {"NetworkPolicy", "PodMonitor"}:
            spec = manifest["spec"]
            selectors.append((spec.get("podSelector") or spec["selector"])["matchLabels"])
        if manifest["kind"] == "ServiceMonitor":
            wanted = manifest["spec"]["selector"]["matchLabels"]
            assert wanted.items() <= service["metadata"]["labels"].items()
    for selector in selectors:
        assert selector.items() <= pod.items()


@pytest.mark.parametrize("values", [VALUES["configured"], VALUES["workload identity"]])
def test_the_exporter_takes_what_the_chart_gives(values: dict[str, Any], tmp_path: Path) -> None:
    """The exporter accepts the arguments and the configuration file that the chart makes."""
    manifests = render(values)
    (container,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: tmp_path / mount["name"] for mount in container["volumeMounts"]}
    for folder in mounts.values():
        folder.mkdir()
    (mounts["storage"] / "token").write_text("a federated token", "utf-8")

    def here(text: str) -> str:
        for mount in container["volumeMounts"]:
            text = text.replace(mount["mountPath"] + "/", f"{mounts[mount['name']]}/")
        return text

    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and "config.yml" in manifest["data"]:
            (mounts["config"] / "config.yml").write_text(here(manifest["data"]["config.yml"]), "utf-8")
        for name, content in (manifest.get("data") or {}).items() if manifest["kind"] == "Secret" else ():
            (mounts["secrets"] / name).write_bytes(base64.b64decode(content))
    command = [sys.executable, "-m", "exporter", *map(here, container["args"]), "--config.check"]
    injected = {} if values.get("config") else workload_identity(mounts["storage"] / "token")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | injected)
    assert ended.returncode == 0, ended.stderr


def workload_identity(token: Path) -> dict[str, str]:
    """Return the variables that Azure's webhook injects (azure.github.io/azure-workload-identity)."""
    return {
        "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000002",
        "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000001",
        "AZURE_FEDERATED_TOKEN_FILE": str(token),
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
    }


@pytest.mark.parametrize("name", ["a", "office365-activations-exporter", "x" * 53])
def test_names(name: str) -> None:
    """Names stay within Kubernetes' 63 characters, whatever the release is called."""
    for manifest in render(VALUES["defaults"], name):
        assert len(manifest["metadata"]["name"]) <= 63


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"auth": {"client_secret": "hush"}}, "client_secret_file"),
        ({"tenants": [{"auth": {"client_secret": "hush"}}]}, "client_secret_file"),
        ({"tenants": [{"auth": {"certificate_password": "hush"}}]}, "certificate_password_file"),
        ({"http": {"proxy": "http://user:hush@proxy:3128"}}, "proxy_file"),
    ],
)
def test_no_secret_in_a_config_map(config: dict[str, Any], word: str) -> None:
    """A secret in `config` is refused with the key to use, and not printed."""
    with pytest.raises(helm_python.HelmRenderError, match=word) as caught:
        render({"config": config})
    assert "hush" not in str(caught.value)


def test_secrets_stay_secret() -> None:
    """A secret's content stands in the Secret and nowhere else."""
    manifests = render(VALUES["configured"])
    assert one(manifests, "Secret")["data"] == {"contoso": "aHVzaA=="}
    others = json.dumps([manifest for manifest in manifests if manifest["kind"] != "Secret"])
    assert "hush" not in others
    assert "aHVzaA==" not in others


@pytest.mark.parametrize(
    "values",
    [{"replicaCount": 2}, {"service": {"port": "9365"}}, {"log": {"level": "loud"}}, {"image": {"digest": "1"}}],
)
def test_bad_values(values: dict[str, Any]) -> None:
    """Unknown and malformed values are refused by the schema."""
    with pytest.raises(helm_python.HelmValuesError):
        render(values)


def test_schema_is_complete() -> None:
    """Every value of values.yaml is in the schema, and the other way round."""

    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        if schema.get("additionalProperties") is not False:
            return
        assert set(values) == set(schema["properties"]) - {"global"}, path
        for key, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][key], f"{path}.{key}")

    with helm_python.Chart.load(CHART) as chart:
        assert chart.schema is not None
        compare(chart.values, chart.schema, "values")


def test_rules_and_dashboard_are_the_same_files(tmp_path: Path) -> None:
    """The packed chart carries monitoring/'s rules and dashboard, and what it renders of them is the same."""
    with helm_python.Chart.load(CHART) as chart:
        archive = chart.save(tmp_path)
    with helm_python.Chart.load(archive) as chart:
        packed = {file["name"]: file["data"] for file in chart.files}
    for name in ("rules.yml", "dashboard.json"):
        assert (CHART / "files" / name).read_bytes() == (ROOT / "monitoring" / name).read_bytes()
        assert f"files/{name}" in packed
    manifests = render(VALUES["configured"])
    rules = yaml.safe_load((ROOT / "monitoring" / "rules.yml").read_text("utf-8"))
    assert one(manifests, "PrometheusRule")["spec"] == rules
    (board,) = [m for m in manifests if m["metadata"]["name"].endswith("-dashboard")]
    dashboard = json.loads((ROOT / "monitoring" / "dashboard.json").read_text("utf-8"))
    assert json.loads(board["data"]["office365-activations.json"]) == dashboard


def test_version() -> None:
    """The chart starts the exporter of its own version."""
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == __version__
