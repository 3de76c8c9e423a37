"""What Kubernetes would refuse, or would not do what was meant, in a set of manifests."""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import jsonschema
import kubernetes_validate
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest = dict[str, Any]
NEWEST = "1.37"
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_CUSTOM = re.compile(r"monitoring\.coreos\.com/|cilium\.io/")
_HANDLERS = {"exec", "httpGet", "tcpSocket", "grpc"}


def refusals(manifests: list[Manifest], version: str = NEWEST) -> list[str]:
    """Return everything that is wrong with the manifests."""
    found = [f"{m['kind']}: {error}" for m in manifests for error in _of(m, version)]
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    found += [f"stands twice: {name}" for name in names if names.count(name) > 1]
    return found + list(_selectors(manifests))


# kubernetes-validate reads megabytes of definitions for each manifest; one version's schemas are some 20 files.
_schema_contents = lru_cache(32)(kubernetes_validate.utils.schema_contents)


def validate(manifest: Manifest, version: str) -> None:
    """Hold a manifest against the schema of its kind, which takes no unknown key.

    Raises:
        kubernetes_validate.ValidationError: it does not follow it.
        kubernetes_validate.SchemaNotFoundError: that version of Kubernetes does not have the kind.
    """
    with patch.object(kubernetes_validate.utils, "schema_contents", _schema_contents):
        kubernetes_validate.validate(manifest, version, strict=True)


def _of(manifest: Manifest, version: str) -> Iterator[str]:
    yield from _metadata(manifest["metadata"])
    if _CUSTOM.match(manifest["apiVersion"]):
        yield from custom_resource_errors(manifest)
    else:
        try:
            validate(manifest, version)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield str(error)
    if manifest["kind"] == "Service" and not _SERVICE_NAME.fullmatch(manifest["metadata"]["name"]):
        yield f"bad name {manifest['metadata']['name']}"
    if manifest["kind"] in {"StatefulSet", "Deployment"}:
        template = manifest["spec"]["template"]
        claims = [claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])]
        yield from _metadata({"name": "x", **template["metadata"]})
        yield from _pod(template["spec"], claims)
    if manifest["kind"] == "Pod":
        yield from _pod(manifest["spec"], [])


def _metadata(metadata: dict[str, Any]) -> Iterator[str]:
    if not _NAME.fullmatch(metadata["name"]):
        yield f"bad name {metadata['name']}"
    for key, value in metadata.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key) or not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            yield f"bad label {key}: {value!r}"
    for key, value in metadata.get("annotations", {}).items():
        if not _LABEL_KEY.fullmatch(key) or not isinstance(value, str):
            yield f"bad annotation {key}: {value!r}"


def _pod(spec: dict[str, Any], claims: list[str]) -> Iterator[str]:
    yield from _restricted(spec)
    volumes = [volume["name"] for volume in spec.get("volumes", [])] + claims
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts", [])}
    if len(set(volumes)) < len(volumes) or set(volumes) != mounted:
        yield f"volumes {volumes} are not mounts {sorted(mounted)}"
    for container in containers:
        yield from _container(container)


def _container(container: dict[str, Any]) -> Iterator[str]:
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    if len(set(paths)) < len(paths):
        yield f"mounted twice: {paths}"
    variables = [variable["name"] for variable in container.get("env", [])]
    if len(set(variables)) < len(variables):
        yield f"set twice: {variables}"
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name in container and len(_HANDLERS & set(container[name])) != 1:
            yield f"{name} has not one handler: {container[name]}"
    # A file that an argument names stands in a folder that is mounted.
    for argument in container.get("args", []):
        if (match := re.fullmatch(r"--[\w.]+\.file=(.+)/[^/]+", argument)) and match[1] not in paths:
            yield f"{argument} is not mounted"


def _restricted(spec: dict[str, Any]) -> Iterator[str]:
    """Yield what breaks Pod Security's "restricted" standard."""
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= allowed:
            yield f"restricted: volume {volume}"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"restricted: {key}"
    pod = spec.get("securityContext", {})
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own = container.get("securityContext", {})
        effective = {**pod, **own}
        capabilities = own.get("capabilities", {})
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": effective.get("runAsNonRoot") is True,
            "runAsUser": effective.get("runAsUser") != 0,
            "seccompProfile": effective.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "capabilities": capabilities.get("drop") == ["ALL"]
            and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
        }
        yield from (f"restricted: {rule} of {container['name']}" for rule, kept in rules.items() if not kept)


def _selectors(manifests: list[Manifest]) -> Iterator[str]:
    """Yield each selector that does not find the exporter's pods, or finds others."""
    for found in manifests:
        if found["kind"] not in {"StatefulSet", "Deployment"}:
            continue
        pod = found["spec"]["template"]["metadata"]["labels"]
        (service,) = [m for m in manifests if m["kind"] == "Service"]
        others = [m["metadata"].get("labels", {}) for m in manifests if m["kind"] == "Pod"]
        for manifest in manifests:
            spec = manifest.get("spec", {})
            selector = spec.get("selector") or spec.get("podSelector") or spec.get("endpointSelector") or {}
            selector = selector.get("matchLabels", selector)
            target = service["metadata"]["labels"] if manifest["kind"] == "ServiceMonitor" else pod
            if selector and not selector.items() <= target.items():
                yield f"{manifest['kind']} selects {selector}, not {target}"
            if selector and any(selector.items() <= other.items() for other in others):
                yield f"{manifest['kind']} selects the pod of the test"


class _Loader(yaml.SafeLoader):
    """YAML in which `=`, a matcher's type in the operator's definitions, is text."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


@cache
def _definitions(folder: str) -> dict[str, dict[str, Any]]:
    found = {}
    for path in Path(folder).glob("*.yaml"):
        spec = yaml.load(path.read_text("utf-8"), _Loader)["spec"]  # noqa: S506 - a safe loader
        schema = _closed(spec["versions"][0]["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[spec["names"]["kind"]] = schema
    return found


def _closed(schema: Any) -> Any:
    """Return the schema refusing unknown fields, as the API server does with strict validation."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _closed(value) for key, value in schema.items()}
    if isinstance(pattern := result.get("pattern"), str):
        result["pattern"] = pattern.replace("^(?i)", "(?i)^")  # Go takes flags anywhere, Python at the start
    if "properties" in result and isinstance(result["properties"], dict) and "type" in result:
        result.setdefault("additionalProperties", bool(result.get("x-kubernetes-preserve-unknown-fields")))
    return result


def custom_resource_errors(manifest: Manifest) -> list[str]:
    """Return what the definition of a custom resource refuses, where EXPORTER_CRD_SCHEMAS names a folder with it."""
    folder = os.environ.get("EXPORTER_CRD_SCHEMAS")
    schema = _definitions(folder).get(manifest["kind"]) if folder else None
    if schema is None:
        return []
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(schema).iter_errors(manifest)]
