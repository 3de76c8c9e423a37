"""The Helm chart: what it makes of its values."""

from __future__ import annotations

import base64
import copy
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

from exporter import __version__
from tests.delivery import chart_files
from tests.delivery.chart import CHART, CI, container, every_values, loaded, one, render, texts, workload
from tests.delivery.manifests import refusals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORAGE = "/var/lib/office365-activations-exporter"
TMP = "/tmp"  # noqa: S108 - the pod's own
DEMO: dict[str, Any] = {"demo": True}


@every_values
def test_valid(values: dict[str, Any]) -> None:
    """Kubernetes takes every manifest, within Pod Security's restricted standard; volumes and selectors meet."""
    assert refusals(render(values)) == []


@every_values
def test_writes_only_where_it_must(values: dict[str, Any]) -> None:
    """The exporter writes to its storage and /tmp alone; every mount is a whole folder, so that changes reach it."""
    mounts = container(render(values))["volumeMounts"]
    assert {m["mountPath"] for m in mounts if not m.get("readOnly")} - {"/more"} == {TMP, STORAGE}
    assert not any("subPath" in mount for mount in mounts)


@every_values
def test_rendered_alike(values: dict[str, Any]) -> None:
    """Two renders are equal, and an installation's is an upgrade's, so that Argo CD has nothing to say."""
    first = texts(values)
    with helm_python.Chart.load(CHART) as chart:
        again = chart.render(values, name="release", namespace="monitoring", is_upgrade=True)
    assert list(first.values()) == [again[name] for name in sorted(again)]


@every_values
def test_pods_carry_no_version(values: dict[str, Any]) -> None:
    """A new chart with the same settings replaces no pod: neither pod nor claim template names a version."""
    spec = workload(render(values))["spec"]
    for metadata in [spec["template"]["metadata"], *(c["metadata"] for c in spec.get("volumeClaimTemplates", []))]:
        assert {"helm.sh/chart", "app.kubernetes.io/version"}.isdisjoint(metadata["labels"])


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "no tenant is configured: set config.tenants"),
        (DEMO | {"config": {"poll": {"interval": "1h"}}}, "remove demo"),
        (CI["secret"] | {"existingConfigMap": "theirs"}, "config and existingConfigMap"),
        (DEMO | {"web": {"config": {"http_server_config": {}}, "existingSecret": "x"}}, "web.config and web.existing"),
        (DEMO | {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "scrape every pod twice"),
        (CI["existing"] | {"replicas": 2}, "existingClaim is for one replica"),
        (DEMO | {"prometheusRule": {"enabled": True, "disabled": {"NoSuchAlert": True}}}, "there is no alert NoSuchAl"),
    ],
)
def test_refusals(values: dict[str, Any], word: str) -> None:
    """What would end in a broken release is refused with what to set."""
    with pytest.raises(helm_python.HelmRenderError, match=word):
        render(values)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"config": {"auth": {"client_secret": "hush"}}}, r"config\.auth\.client_secret is a secret"),
        ({"config": {"tenants": [{"auth": {"client_secret": "hush"}}]}}, r"tenants\[0\]\.auth.*client_secret_file"),
        ({"config": {"tenants": [{"auth": {"certificate_password": "hush"}}]}}, "certificate_password_file"),
        ({"config": {"http": {"proxy": "http://user:hush@proxy:3128"}}}, "proxy_file"),
        ({"env": [{"name": "AZURE_CLIENT_SECRET", "value": "hush"}]}, "AZURE_CLIENT_SECRET is a secret"),
        ({"env": [{"name": "AZURE_CLIENT_CERTIFICATE_PASSWORD", "value": "hush"}]}, "secretKeyRef"),
        ({"env": [{"name": "OFFICE365_EXPORTER_AUTH__CLIENT_SECRET", "value": "hush"}]}, "secretKeyRef"),
        ({"env": [{"name": "OFFICE365_EXPORTER_TENANTS", "value": '[{"auth":{"client_secret":"hush"}}]'}]}, "TENANTS"),
        ({"env": [{"name": "HTTPS_PROXY", "value": "http://user:hush@proxy:3128"}]}, "HTTPS_PROXY is a secret"),
    ],
)
def test_no_secret_in_clear_text(values: dict[str, Any], word: str) -> None:
    """A secret in `config` or `env` is refused with what to write instead, and not printed."""
    with pytest.raises(helm_python.HelmRenderError, match=word) as caught:
        render(values)
    assert "hush" not in str(caught.value)


def test_secrets_stay_secret() -> None:
    """A secret's content stands in the Secret and nowhere else."""
    manifests = render(CI["secret"] | {"secrets": {"contoso": "hush"}})
    assert one(manifests, "Secret")["data"] == {"contoso": "aHVzaA=="}
    others = json.dumps([manifest for manifest in manifests if manifest["kind"] != "Secret"])
    assert "hush" not in others
    assert "aHVzaA==" not in others


@pytest.mark.parametrize(
    "values",
    [
        {"replicaCount": 2},
        {"replicas": 3},
        {"service": {"port": "9365"}},
        {"log": {"level": "loud"}},
        {"image": {"digest": "1"}},
        {"commonLabels": {"team": True}},
        {"podLabels": {"a b": "c"}},
        {"web": {"routePrefix": "o365"}},
        {"serviceMonitor": {"labels": {}}},
        {"livenessProbe": {"exec": {"command": ["true"]}, "tcpSocket": {"port": 1}}},
        {"env": [{"name": "A", "value": 1}]},
        {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}},
        {"prometheusRule": {"severity": {"Office365ReportStale": "page"}}},
    ],
)
def test_bad_values(values: dict[str, Any]) -> None:
    """Unknown and malformed values are refused by the schema."""
    with pytest.raises(helm_python.HelmValuesError):
        render(DEMO | values)


def test_schema_is_complete() -> None:
    """Every value of values.yaml is in the schema, and the other way round."""
    whole = loaded().schema
    assert whole is not None

    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        schema = whole["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        if schema.get("additionalProperties") is not False or "Probe" in path or "Disruption" in path:
            return
        if "retentionPolicy" not in path:
            assert set(values) == set(schema["properties"]), path
        for key, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][key], f"{path}.{key}")

    compare(loaded().values, whole, "values")


SETTINGS: dict[str, Any] = {
    "image.registry": "r.example",
    "image.repository": "exporter",
    "revisionHistoryLimit": 5,
    "workloadIdentity.audience": "api://theirs",
    "persistence.accessModes": ["ReadWriteOncePod"],
    "podSecurityContext.supplementalGroups": [1],
    "securityContext.readOnlyRootFilesystem": False,
    "readinessProbe.periodSeconds": 20,
    "startupProbe.periodSeconds": 20,
    "serviceMonitor.annotations": {"a": "b"},
    "serviceMonitor.interval": "5m",
    "serviceMonitor.jobLabel": "team",
    "serviceMonitor.scrapeTimeout": "20s",
    "prometheusRule.annotations": {"a": "b"},
    "alertmanagerConfig.annotations": {"a": "b"},
    "dashboards.annotations": {"a": "b"},
    "dashboards.label": "board",
    "dashboards.labelValue": "yes",
    "dashboards.folderAnnotation": "folder",
    "dashboards.additionalLabels": {"team": "licences"},
    "networkPolicy.egress.fqdns": ["login.microsoftonline.us"],
}
"""Values that no file of `ci/` sets."""

WHOLE = {"podSecurityContext", "securityContext", "resources", "livenessProbe", "readinessProbe", "startupProbe"}
"""Maps that are handed on as they are."""

NOT_OF_PODS = {"podMonitor.targetLabels"}
"""What values.yaml says to be a ServiceMonitor's only."""


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each single value."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in WHOLE:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def settings_of(path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield values with a setting at the path: those of `ci/`, and the settings above in the middle of such."""
    bases = [CI[name] for name in ("operator", "everything", "cilium", "projected-identity", "secret")]
    wanted = ".".join(path).replace("podMonitor", "serviceMonitor")
    more = [{name: value} for name, value in SETTINGS.items() if name.startswith(wanted)]
    for values in (*CI.values(), *(merged(base, setting) for base in bases for setting in more)):
        found = values if path[0] != "podMonitor" else monitoring_pods(values)
        if value_at(found, path) is not None:
            yield copy.deepcopy(found)


def merged(values: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return values with settings, each under its path."""
    result = copy.deepcopy(values)
    for name, value in settings.items():
        *folders, last = name.split(".")
        place = result
        for folder in folders:
            place[folder] = place.get(folder) or {}
            place = place[folder]
        place[last] = value
    return result


def monitoring_pods(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with a PodMonitor in the place of the ServiceMonitor."""
    others = {name: value for name, value in values.items() if name not in {"serviceMonitor", "podMonitor"}}
    return others | {"podMonitor": values.get("podMonitor") or values.get("serviceMonitor", {})}


def value_at(values: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path; None where there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


@cache
def outcome(values: str) -> dict[str, str] | str:
    """Return what is rendered of values in JSON, or why nothing is."""
    try:
        return texts(json.loads(values))
    except (helm_python.HelmRenderError, helm_python.HelmValuesError) as error:
        return str(error)


def test_every_value_has_an_effect() -> None:
    """For each value of values.yaml there are values that render differently without it."""
    without_effect = set[str]()
    for path in leaves(loaded().values):
        for values in settings_of(path):
            with_it = outcome(json.dumps(values))
            *folders, last = path
            value_at(values, tuple(folders)).pop(last)
            if outcome(json.dumps(values)) != with_it:
                break
        else:
            without_effect.add(".".join(path))
    assert without_effect == NOT_OF_PODS


def test_storage_decides_the_kind() -> None:
    """With a volume it is a StatefulSet with a claim a pod, else a Deployment; updates run two pods at most."""
    stateful = workload(render(CI["high-availability"]))
    assert stateful["kind"] == "StatefulSet"
    assert [claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]] == ["storage"]
    assert stateful["spec"]["replicas"] == 2
    existing = workload(render(CI["existing"]))["spec"]
    assert "volumeClaimTemplates" not in existing
    volumes = {volume["name"]: volume for volume in existing["template"]["spec"]["volumes"]}
    assert volumes["storage"]["persistentVolumeClaim"] == {"claimName": "office365"}
    for replicas, surge in ((1, 1), (2, 0)):
        deployment = workload(render(CI["memory"] | {"replicas": replicas}))
        assert deployment["kind"] == "Deployment"
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == surge


def test_web_settings_reach_everything() -> None:
    """Prefix, port, path and TLS are the same in arguments, probes, monitor, test and notes."""
    rendered, manifests = texts(CI["tls"]), render(CI["tls"])
    exporter = container(manifests)
    assert {"--web.listen-address=:8443", "--web.telemetry-path=/telemetry", "--web.route-prefix=/o365"} <= set(
        exporter["args"]
    )
    assert exporter["ports"] == [{"name": "metrics", "containerPort": 8443, "protocol": "TCP"}]
    for probe, path in (("startup", "healthy"), ("liveness", "healthy"), ("readiness", "ready")):
        wanted = {"path": f"/o365/-/{path}", "port": "metrics", "scheme": "HTTPS"}
        assert exporter[f"{probe}Probe"]["httpGet"] == wanted
    (endpoint,) = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/o365/telemetry")
    notes = rendered["NOTES.txt"]
    assert "https://localhost:443/o365/\n" in notes
    assert "https://release-office365-activations-exporter.monitoring:443/o365/telemetry" in notes
    assert ".monitoring:443/o365/-/ready" in one(manifests, "Pod")["spec"]["containers"][0]["args"][0]
    web = yaml.safe_load(base64.b64decode(one(manifests, "Secret", "-web")["data"]["web-config.yml"]))
    assert web["tls_server_config"] == {
        "cert_file": "/etc/office365-activations-exporter/tls/tls.crt",
        "key_file": "/etc/office365-activations-exporter/tls/tls.key",
    }


@pytest.mark.parametrize("prefix", ["/o365", "/o365/", "/a/b"])
def test_prefix_of_the_external_url(prefix: str) -> None:
    """The path of the external URL is the prefix where no other is given, as in the exporter."""
    values = DEMO | {"web": {"externalUrl": f"https://monitoring.example.com{prefix}"}}
    assert container(render(values))["livenessProbe"]["httpGet"]["path"] == f"{prefix.rstrip('/')}/-/healthy"


def test_client_certificates() -> None:
    """Where client certificates are demanded, which the kubelet lacks, probes only open the port."""
    config = {
        "tls_server_config": {"cert_file": "a", "key_file": "b", "client_auth_type": "RequireAndVerifyClientCert"}
    }
    for values in (CI["client-certificates"], DEMO | {"web": {"config": config}}):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            settings = container(render(values))[probe]
            assert settings["tcpSocket"] == {"port": "metrics"}
            assert "httpGet" not in settings


def test_probes_are_replaced_whole() -> None:
    """A handler of the user's takes the place of the chart's; null leaves the probe out."""
    exporter = container(render(CI["everything"]))
    assert exporter["livenessProbe"]["exec"] == {"command": ["office365-activations-exporter", "healthcheck"]}
    assert "httpGet" not in exporter["livenessProbe"]
    assert "startupProbe" not in exporter


def test_tenants_of_a_secret() -> None:
    """Tenant files of a Secret are named in the configuration next to what stands there, and mounted."""
    manifests = render(CI["tenants-secret"] | {"config": {"tenant_files": ["/more/*.yml"]}})
    config = yaml.safe_load(one(manifests, "ConfigMap")["data"]["config.yml"])
    assert config["tenant_files"] == ["/more/*.yml", "/etc/office365-activations-exporter/tenants/*.yml"]
    mounts = {m["name"]: m["mountPath"] for m in container(manifests)["volumeMounts"]}
    assert mounts["tenants"] == "/etc/office365-activations-exporter/tenants"


def test_workload_identity() -> None:
    """The webhook finds label and annotations; without it, the chart mounts the token and names it, once."""
    webhook = render(CI["workload-identity"])
    assert workload(webhook)["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    annotations = one(webhook, "ServiceAccount")["metadata"]["annotations"]
    assert annotations["azure.workload.identity/client-id"].endswith("2")
    given = {"env": [{"name": "AZURE_CLIENT_ID", "value": "theirs"}]}
    environment = {e["name"]: e["value"] for e in container(render(CI["projected-identity"] | given))["env"]}
    assert environment == {
        "AZURE_CLIENT_ID": "theirs",
        "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000001",
        "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    }


def test_restart_on_change() -> None:
    """Pods are replaced for a changed configuration only where that is wished."""
    changed = {"secrets": {"contoso": "another"}}
    for wished in (True, False):
        before, after = (workload(render(CI["secret"] | more | {"restartOnChange": wished})) for more in ({}, changed))
        assert (before["spec"]["template"] != after["spec"]["template"]) is wished


def test_labels_of_users() -> None:
    """Labels reach every object, once each; the standard ones are the chart's, whatever users give."""
    for manifest in render(CI["everything"]):
        labels = manifest["metadata"].get("labels", {})
        if labels.get("helm.sh/chart"):
            assert labels["app.kubernetes.io/name"] == "office365"
            assert labels["team"] == "licences"
            assert labels["app.kubernetes.io/instance"] == "release"
    pod = workload(render(CI["everything"]))["spec"]["template"]["metadata"]["labels"]
    assert (pod["a"], pod["app.kubernetes.io/name"]) == ("b", "office365")


@pytest.mark.parametrize("name", ["a", "office365-activations-exporter", "x" * 53])
def test_names(name: str) -> None:
    """Names and labels keep within Kubernetes' limits, whatever the release is called."""
    manifests = render(CI["high-availability"], name)
    assert refusals(manifests) == []
    # A pod carries the name and a hash of 10 in a label of 63 (controller-revision-hash).
    assert len(workload(manifests)["metadata"]["name"]) <= 52


@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])
def test_job(monitor: str) -> None:
    """Each release is a job of its own, so that rules tell two releases apart; its replicas share it."""
    jobs = set()
    for name in ("customers", "agencies"):
        manifests = render(DEMO | {monitor: {"enabled": True}}, name)
        label = one(manifests, monitor[0].upper() + monitor[1:])["spec"]["jobLabel"]
        service, pod = one(manifests, "Service"), workload(manifests)["spec"]["template"]
        jobs.add(service["metadata"]["labels"][label])
        assert pod["metadata"]["labels"][label] == service["metadata"]["labels"][label]
    assert len(jobs) == 2


@pytest.mark.parametrize("name", ["365", "a.b", "x" * 51 + ".y"])
def test_names_that_a_service_cannot_have(name: str) -> None:
    """Helm takes a release's name that no Service can have: the chart says so, and what to set."""
    with pytest.raises(helm_python.HelmRenderError, match="set fullnameOverride"):
        render(DEMO, name)
    assert refusals(render(DEMO | {"fullnameOverride": "office365", "namespaceOverride": "365"}, name)) == []


def paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where each value is."""
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


@pytest.mark.long
@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])
def test_null(monitor: str) -> None:
    """A value that is null, such as a map whose lines are all comments, is as if empty, or refused by its name."""
    parts = ("prometheusRule", "alertmanagerConfig", "dashboards", "networkPolicy", monitor)
    for path in paths(yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))):
        if "ecurityContext" in path[0] or path == ("demo",):
            continue  # what users loosen is theirs to answer for; demo is on here
        values: dict[str, Any] = DEMO | {part: {"enabled": True} for part in parts}
        at = values
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = None
        try:
            assert refusals(render(values)) == [], path
        except helm_python.HelmError as error:
            assert f"missing property '{path[-1]}'" in str(error), path  # noqa: PT017 - one of two outcomes


@pytest.mark.parametrize(
    "values", [{}, {"global": {"imageRegistry": "r.example"}}, {"image": {"digest": "sha256:" + "0" * 64}}]
)
def test_image(values: dict[str, Any]) -> None:
    """The image is the release's own, by digest where one is given, from the global registry where one is given."""
    repository = "office365-activations-exporter/office365-activations-exporter"
    registry = values.get("global", {}).get("imageRegistry", "ghcr.io")
    version = f"@sha256:{'0' * 64}" if "image" in values else f":{__version__}"
    assert container(render(DEMO | values))["image"] == f"{registry}/{repository}{version}"


def test_rules() -> None:
    """The PrometheusRule has the shipped rules, but for what the values change."""
    shipped = yaml.safe_load((chart_files.ROOT / "monitoring" / "rules.yml").read_text("utf-8"))
    assert one(render(DEMO | {"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"] == shipped
    changed = one(render(CI["operator"]), "PrometheusRule")
    assert changed["metadata"]["namespace"] == "observability"
    rules = [rule for group in changed["spec"]["groups"] for rule in group["rules"]]
    names = [rule.get("alert", rule.get("record")) for rule in rules]
    everything = [rule.get("alert", rule.get("record")) for group in shipped["groups"] for rule in group["rules"]]
    assert names == [name for name in everything if name != "Office365ActivationRatioLow"]
    for rule in rules:
        if "alert" in rule:
            assert rule["labels"]["team"] == "licences"
            assert rule["annotations"]["chat"] == "#licences"
            assert rule["annotations"]["runbook_url"].startswith("https://runbooks.example.com/office365/")
            assert (rule["labels"]["severity"] == "info") >= (rule["alert"] == "Office365ReportStale")


def test_inhibitions() -> None:
    """The AlertmanagerConfig has the shipped inhibitions, matcher for matcher."""
    shipped = yaml.safe_load((chart_files.ROOT / "monitoring" / "inhibit_rules.yml").read_text("utf-8"))
    made = one(render(CI["operator"]), "AlertmanagerConfig")["spec"]["inhibitRules"]

    def plain(matchers: list[dict[str, str]]) -> list[str]:
        return [f'{m["name"]}{m["matchType"]}"{m["value"]}"' for m in matchers]

    def bare(matchers: list[str]) -> list[str]:
        return [matcher.replace(" ", "") for matcher in matchers]

    assert made
    for rule, wanted in zip(made, shipped["inhibit_rules"], strict=True):
        assert plain(rule["sourceMatch"]) == bare(wanted["source_matchers"])
        assert plain(rule["targetMatch"]) == bare(wanted["target_matchers"])
        assert rule.get("equal") == wanted.get("equal")


def test_dashboards() -> None:
    """Each dashboard is a ConfigMap with the sidecar's label and the folder's annotation."""
    boards = [m for m in render(CI["operator"]) if m["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    sources = sorted((chart_files.ROOT / "monitoring").rglob("*.json"))
    assert len(boards) == len(sources) > 0
    for board in boards:
        ((name, text),) = board["data"].items()
        (source,) = [path for path in sources if f"office365-{path.name}" == name]
        assert json.loads(text) == json.loads(source.read_text("utf-8"))
        assert board["metadata"]["annotations"] == {"grafana_folder": "Microsoft 365"}
        assert len(text) < 900_000  # a ConfigMap carries 1 MiB


def test_metadata_address_only_for_managed_identity() -> None:
    """HTTPS goes anywhere but to the metadata address, which managed identity opens."""
    for managed in (True, False):
        values = CI["network-policy"] | {"networkPolicy": {"enabled": True, "egress": {"managedIdentity": managed}}}
        rules = one(render(values), "NetworkPolicy")["spec"]["egress"]
        blocks = [to["ipBlock"] for rule in rules for to in rule.get("to", [])]
        assert {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]} in blocks
        assert ({"cidr": "169.254.169.254/32"} in blocks) is managed


def test_cilium_names_the_hosts() -> None:
    """The CiliumNetworkPolicy lets out to login, Graph and download by name, and DNS through Cilium's eyes."""
    spec = one(render(CI["cilium"]), "CiliumNetworkPolicy")["spec"]
    dns, names, metadata = spec["egress"]
    assert dns["toPorts"][0]["rules"] == {"dns": [{"matchPattern": "*"}]}
    assert names["toFQDNs"] == [
        {"matchName": "login.microsoftonline.com"},
        {"matchName": "graph.microsoft.com"},
        {"matchPattern": "*.office.com"},
    ]
    assert metadata["toCIDR"] == ["169.254.169.254/32"]


def test_generated_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules, inhibitions, dashboards, version and README are what they are made from (else: make chart)."""
    monkeypatch.setattr("sys.argv", ["chart_files", "--check"])
    assert (chart_files.main(), capsys.readouterr().err) == (0, "")


def test_example_of_the_readme() -> None:
    """The values in the chart's README make manifests that Kubernetes takes."""
    text = (CHART / "README.md").read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert refusals(render(yaml.safe_load(example))) == []


def test_package(tmp_path: Path) -> None:
    """The packed chart carries rules and dashboards, and renders what the folder renders."""
    with helm_python.Chart.load(CHART) as chart:
        archive = chart.save(tmp_path)
    with helm_python.Chart.load(archive) as chart:
        rendered = chart.render(CI["operator"], name="release", namespace="monitoring")
        assert chart.metadata["appVersion"] == chart.metadata["version"] == __version__
    assert [rendered[name] for name in sorted(rendered)] == list(texts(CI["operator"]).values())
