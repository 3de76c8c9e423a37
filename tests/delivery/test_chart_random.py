"""The Helm chart under random combinations of all its values."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import Any

import helm_python
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.delivery.chart import CI, loaded, manifests_of, render, texts
from tests.delivery.manifests import refusals

pytestmark = pytest.mark.long

_ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=40) | st.sampled_from(
    ["true", "1", "~", "- a: b", "{{ .Values }}", "a: b # c", "'\"", "%", "@", "multi\nline\n", " leading", "x" * 300]
)
_LABELS = st.dictionaries(
    st.sampled_from(["a", "example.com/b", "app.kubernetes.io/name", "helm.sh/chart", "azure.workload.identity/use"]),
    st.sampled_from(["", "1", "true", "null", "x" * 63, "a.b_c-d"]),
)
_ANNOTATIONS = st.dictionaries(st.sampled_from(["a", "example.com/b", "checksum/config"]), _ANY_TEXT)
_LEGAL_NAME = st.sampled_from(["", "a", "office365", "a" * 63])
_FLAG = st.booleans()
_YES = st.just(value=True)
_MAPS: dict[str, list[dict[str, Any]]] = {  # what is passed on as it is, and checked by the schemas of Kubernetes
    "livenessProbe": [{"exec": {"command": ["true"]}}, {"tcpSocket": {"port": "metrics"}}, {"periodSeconds": 5}],
    "readinessProbe": [{"httpGet": {"path": "/", "port": 1}}, {"initialDelaySeconds": 1}],
    "startupProbe": [{"exec": {"command": ["true"]}, "failureThreshold": 1}],
    "resources": [{"limits": {"cpu": "1"}}],
    "affinity": [{"nodeAffinity": {}}],
    "nodeSelector": [{"kubernetes.io/os": "linux"}],
    "dnsConfig": [{"options": [{"name": "ndots", "value": "1"}]}],
    "podDisruptionBudget": [
        {"maxUnavailable": 1},
        {"minAvailable": "50%", "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    ],
}
_LISTS: dict[str, list[list[Any]]] = {
    "imagePullSecrets": [[{"name": "a"}]],
    "env": [
        [{"name": "A", "value": "true"}],
        [{"name": "AZURE_CLIENT_ID", "valueFrom": {"fieldRef": {"fieldPath": "a"}}}],
    ],
    "envFrom": [[{"secretRef": {"name": "a"}}]],
    "tolerations": [[{"operator": "Exists"}]],
    "hostAliases": [[{"ip": "192.0.2.1", "hostnames": ["a"]}]],
    "topologySpreadConstraints": [[{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]],
    "initContainers": [CI["everything"]["initContainers"]],
    "containers": [CI["everything"]["containers"]],
    "extraManifests": [CI["everything"]["extraManifests"]],
    "certificateSecrets": [["a"], ["a.b", "a" * 253]],
    "secretProviderClasses": [["a"], ["a.b", "c"]],
}


def some(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return maps with any of the keys."""
    return st.fixed_dictionaries({}, optional=strategies)


def switched(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return maps that are switched on or off, with any of the other keys."""
    return st.fixed_dictionaries({"enabled": _FLAG}, optional=strategies)


def _monitor() -> st.SearchStrategy[dict[str, Any]]:
    return some(
        namespace=_LEGAL_NAME,
        additionalLabels=_LABELS,
        annotations=_ANNOTATIONS,
        jobLabel=st.sampled_from(["", "a"]),
        targetLabels=st.just(["a"]),
        podTargetLabels=st.just(["a"]),
        interval=st.sampled_from(["", "1m30s"]),
        sampleLimit=st.sampled_from([0, 10**6]),
        scrapeClass=st.sampled_from(["", "a"]),
        honorLabels=_FLAG,
        tlsConfig=st.just({"insecureSkipVerify": True}),
        basicAuth=st.just({"username": {"name": "a", "key": "b"}}),
        relabelings=st.just([{"action": "labeldrop", "regex": "a"}]),
    )


_SETTINGS = some(
    nameOverride=_LEGAL_NAME,
    fullnameOverride=_LEGAL_NAME,
    namespaceOverride=_LEGAL_NAME,
    commonLabels=_LABELS,
    replicas=st.integers(0, 2),
    restartOnChange=_FLAG,
    secrets=st.dictionaries(st.sampled_from(["a", "1.5", "true", "a_b.c"]), _ANY_TEXT),
    existingSecret=_LEGAL_NAME,
    extraArgs=st.lists(_ANY_TEXT, max_size=2),
    web=some(
        port=st.sampled_from([1024, 65535]),
        telemetryPath=st.sampled_from(["/metrics", "/a/b"]),
        routePrefix=st.sampled_from(["", "/", "/a", "/a/b/"]),
        externalUrl=st.sampled_from(["", "https://a", "https://a.example:8443/b/"]),
        enableLifecycle=_FLAG,
        config=st.sampled_from(
            [{}, CI["tls"]["web"]["config"], {"tls_server_config": {"client_auth_type": "RequireAnyClientCert"}}]
        ),
        existingSecret=_LEGAL_NAME,
        tls=some(enabled=_FLAG, clientAuth=_FLAG, existingSecret=_LEGAL_NAME),
    ),
    persistence=switched(
        existingClaim=_LEGAL_NAME,
        storageClassName=st.sampled_from(["", "a"]),
        annotations=_ANNOTATIONS,
        retentionPolicy=st.just({"whenScaled": "Delete"}),
        size=st.sampled_from(["1Gi", "1"]),
    ),
    service=some(
        type=st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]), annotations=_ANNOTATIONS, labels=_LABELS
    ),
    serviceAccount=some(create=_FLAG, name=_LEGAL_NAME, annotations=_ANNOTATIONS),
    podAnnotations=_ANNOTATIONS,
    podLabels=_LABELS,
    priorityClassName=_LEGAL_NAME,
    dnsPolicy=st.sampled_from(["", "Default"]),
    prometheusRule=switched(
        namespace=_LEGAL_NAME,
        runbookUrl=st.sampled_from(["", "https://a/b/"]),
        disabled=st.dictionaries(st.sampled_from(["Office365ReportStale", "Office365RowsRejected"]), _FLAG),
        additionalRuleLabels=_LABELS,
        additionalRuleAnnotations=_ANNOTATIONS,
    ),
    alertmanagerConfig=switched(additionalLabels=_LABELS),
    dashboards=switched(folder=_ANY_TEXT, additionalLabels=_LABELS, annotations=_ANNOTATIONS),
    networkPolicy=switched(
        flavor=st.sampled_from(["kubernetes", "cilium"]),
        ingress=st.just({"from": [{"podSelector": {}}]}),
        egress=some(
            cidrs=st.sampled_from([[], ["192.0.2.0/24", "::/0"]]),
            fqdns=st.sampled_from([[], ["a.example"]]),
            ports=st.sampled_from([[], [443, 3128]]),
            managedIdentity=_FLAG,
        ),
    ),
    **{key: st.sampled_from(choices) for key, choices in (_MAPS | _LISTS).items()},
)


_IDENTITY = st.fixed_dictionaries(
    {"enabled": _YES, "mode": st.sampled_from(["webhook", "projected"])},
    optional={"clientId": _ANY_TEXT, "tenantId": _ANY_TEXT},
)
_CONFIG = st.sampled_from([CI["secret"]["config"], {"product_names": {"a: b": "'\"{{"}, "x": [1.5, True, None]}])
_TENANTS = st.one_of(  # where tenants come from; the last ones clash at times
    st.fixed_dictionaries({"demo": _YES}),
    st.fixed_dictionaries({"config": _CONFIG}, optional={"tenantsSecret": _LEGAL_NAME, "workloadIdentity": _IDENTITY}),
    st.fixed_dictionaries({"existingConfigMap": _LEGAL_NAME}, optional={"workloadIdentity": _IDENTITY}),
    st.fixed_dictionaries({"workloadIdentity": _IDENTITY}),
    some(demo=_FLAG, config=_CONFIG, existingConfigMap=_LEGAL_NAME, tenantsSecret=_LEGAL_NAME),
)
_ON = {"enabled": True}
_MONITORS = st.one_of(
    st.fixed_dictionaries({"serviceMonitor": _monitor().map(lambda monitor: monitor | _ON)}),
    st.fixed_dictionaries({"podMonitor": _monitor().map(lambda monitor: monitor | _ON)}),
    some(serviceMonitor=switched(), podMonitor=switched()),
)
_VALUES = st.builds(lambda *parts: dict(chain(*(part.items() for part in parts))), _SETTINGS, _TENANTS, _MONITORS)


def clashes(values: dict[str, Any]) -> bool:
    """Say whether the chart has to refuse the values, by its documentation."""

    def at(path: str) -> Any:
        value: Any = values
        for key in path.split("."):
            value = value.get(key) if value else None
        return value

    named = at("config") or at("existingConfigMap") or at("tenantsSecret")
    identity = at("workloadIdentity.enabled")
    return bool(
        (at("demo") and (named or identity))
        or not (at("demo") or named or at("env") or at("envFrom") or identity)
        or (at("config") and at("existingConfigMap"))
        or (at("web.config") and at("web.existingSecret"))
        or (at("serviceMonitor.enabled") and at("podMonitor.enabled"))
        or (at("persistence.enabled") is not False and at("persistence.existingClaim") and at("replicas") == 2)
    )


@settings(max_examples=150)
@given(_VALUES, st.sampled_from(["release", "a", "x" * 53]))
def test_no_invalid_manifest(values: dict[str, Any], name: str) -> None:
    """Whatever is combined, the chart says what clashes or makes manifests that Kubernetes takes, twice alike."""
    if clashes(values):
        with pytest.raises(helm_python.HelmRenderError):
            render(values, name)
        return
    rendered = texts(deepcopy(values), name)
    assert refusals(manifests_of(rendered)) == []
    assert rendered == texts(values, name)


def test_every_value_is_drawn() -> None:
    """Every switch at the top of values.yaml is among the random ones, or stands here with its reason."""
    passed_on = {"global", "image", "log", "revisionHistoryLimit", "terminationGracePeriodSeconds", "runtimeClassName"}
    hardening = {"podSecurityContext", "securityContext"}  # what users loosen is theirs to answer for
    as_they_are = {"updateStrategy", "extraVolumes", "extraVolumeMounts"}  # must fit each other; ci/everything has them
    elsewhere = {
        "demo",
        "config",
        "existingConfigMap",
        "tenantsSecret",
        "workloadIdentity",
        "serviceMonitor",
        "podMonitor",
    }
    drawn = set(_SETTINGS.wrapped_strategy.optional)  # type: ignore[attr-defined] # the strategy's own record
    assert drawn | elsewhere | passed_on | hardening | as_they_are == set(loaded().values)
