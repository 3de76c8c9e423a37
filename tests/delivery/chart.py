"""The Helm chart, rendered by real Helm with several sets of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "office365-activations-exporter"
MONITORS = {"enabled": True, "tlsConfig": {"insecureSkipVerify": True}, "labels": {"release": "prometheus"}}

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "configured": {
        "config": {
            "tenants": [
                {
                    "name": "contoso",
                    "tenant_id": "00000000-0000-0000-0000-000000000001",
                    "client_id": "00000000-0000-0000-0000-000000000002",
                    "auth": {"client_secret_file": "/run/secrets/office365-activations-exporter/contoso"},
                }
            ]
        },
        "secrets": {"contoso": "hush"},
        "restartOnChange": True,
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "serviceMonitor": MONITORS,
        "dashboard": {"enabled": True},
        "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}], "egressPorts": [443, 3128]},
    },
    "brought along": {
        "existingConfigMap": "theirs",
        "existingSecret": "theirs",
        "persistence": {"existingClaim": "theirs"},
        "serviceAccount": {"create": False},
        "web": {"configSecret": "theirs", "tls": True, "enableLifecycle": True},
        "podMonitor": MONITORS | {"basicAuth": {"username": {"name": "theirs", "key": "name"}}},
        "probeOnlyPort": True,
        "fullnameOverride": "office365",
        "image": {"digest": "sha256:" + "0" * 64},
    },
    "workload identity": {
        "workloadIdentity": {"enabled": True, "clientId": "1", "tenantId": "2"},
        "persistence": {"enabled": False},
        "env": [{"name": "OFFICE365_EXPORTER_TENANT_NAME", "value": "contoso"}],
        "envFrom": [{"configMapRef": {"name": "more"}}],
        "extraArgs": ["--web.route-prefix=/o365"],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "registry"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "commonLabels": {"team": "licences"},
        "podLabels": {"a": "b"},
        "podAnnotations": {"a": "b"},
        "service": {"annotations": {"a": "b"}, "labels": {"a": "b"}},
    },
}
every_values = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())


def render(values: dict[str, Any], name: str = "release") -> list[dict[str, Any]]:
    """Return every manifest that Helm makes of the values."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        rendered = chart.render(values, name=name, namespace="monitoring")
    texts = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the only manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found
