"""Runs the pod that the chart makes of a `ci/` file as a kubelet would, with the simulation in Microsoft's place.

Command, environment, mounts, user and probes are the rendered ones, unchanged: the container's root is a read-only file
system of its own, the network is a loopback of its own, where Microsoft's names lead to the simulation.

    `NAMESPACES` python -m tests.delivery.pod NAME FOLDER

prints what was seen as JSON; anything that a kubelet or Prometheus would not accept ends it with the log.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import ssl
import string
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import trustme
import yaml

from tests.delivery.chart import CI, ROOT, one, render, workload
from tests.full_simulator import Federation, Simulator, SimulatorServer, federated_assertion
from tests.full_simulator.clouds import IMDS, real_hosts
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Manifest = dict[str, Any]

USER = 65532
NAMESPACES = (
    *("unshare", "--mount", "--net", "--ipc"),
    *(() if os.getuid() == 0 else ("--user", f"--map-user={USER}", f"--map-group={USER}", "--keep-caps")),
)

NOT_APPLIED = {
    "containers": "those of users have images of their own; the exporter's is run",
    "image": "the exporter runs from this checkout; tests/delivery/build_image runs the image itself",
    "imagePullPolicy": "no image is pulled",
    "imagePullSecrets": "no image is pulled",
    "initContainers": "those of users have images of their own",
    "ports": "names of ports, by which probes and monitors find them; Kubernetes opens nothing for them",
    "resources": "limits are the node's to keep; docs/sizing.md has the measured need",
    "serviceAccountName": "its token is a stand-in that names it",
    "automountServiceAccountToken": "without an API server there is no token to mount",
    "enableServiceLinks": "there are no other services whose variables could be given",
    "runtimeClassName": "which runtime a node has is the cluster's",
    "dnsPolicy": "the names that the pod needs stand in its /etc/hosts",
    "dnsConfig": "the names that the pod needs stand in its /etc/hosts",
    "nodeSelector": "scheduling",
    "affinity": "scheduling",
    "tolerations": "scheduling",
    "topologySpreadConstraints": "scheduling",
    "priorityClassName": "scheduling",
}
"""The settings of pod and container that need a cluster, each with the reason why it is not applied here."""

APPLIED = {
    *("args", "command", "env", "envFrom", "hostAliases", "livenessProbe", "name", "readinessProbe", "securityContext"),
    *("startupProbe", "terminationGracePeriodSeconds", "volumeMounts", "volumes"),
}

_TENANT, _CLIENT = (f"00000000-0000-0000-0000-{number:012}" for number in (1, 2))
_SECRET = "placeholder"
_TOKENS = "/var/run/secrets/azure/tokens"
_AUTHORITY = "/etc/ssl/certs/ca-certificates.crt"
_SERVICE = "127.0.0.2"
_PAUSE = 0.05


def main() -> int:
    """Run the pod of the file and in the folder that the command line names."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    values = CI[name]
    monitored = "podMonitor" in values or "serviceMonitor" in values
    manifests = render(values if monitored else values | {"serviceMonitor": {"enabled": True}})
    _configure_loopback()
    with SimulatorServer(_simulator(), numbers={"login": 443}, real_names=True) as server:
        _forward(IMDS.rpartition("/")[2], 80, int(server.identity.rpartition(":")[2]))
        pod = Pod(manifests, values, server, folder)
        try:
            seen = pod.run()
        except AssertionError as error:
            sys.stderr.write(f"{name}: {error}\nlog of the pod:\n{pod.log}")
            return 1
        finally:
            pod.kill()
        seen["leaks"] = server.simulator.leaks
    json.dump(seen, sys.stdout)
    return 0


class Pod:
    """The exporter's container, laid out and run.

    Args:
        manifests: what the chart made.
        values: what it was made of.
        server: the simulation.
        folder: where the container's root is put together.
    """

    def __init__(
        self, manifests: list[Manifest], values: Mapping[str, Any], server: SimulatorServer, folder: Path
    ) -> None:
        self._manifests = manifests
        template = workload(manifests)["spec"]["template"]
        self._metadata, self._spec = template["metadata"], template["spec"]
        self._container = self._spec["containers"][0]
        self._namespace = workload(manifests)["metadata"]["namespace"]
        self._server = server
        self._root = folder / "root"
        self._root.mkdir()
        self._log = folder / "log"
        if values.get("workloadIdentity", {}).get("mode", "webhook") == "webhook":
            self._mutate()
        monitor = next(m for m in manifests if m["kind"] in {"ServiceMonitor", "PodMonitor"})["spec"]
        (self._endpoint,) = monitor.get("endpoints") or monitor["podMetricsEndpoints"]
        self._objects = _existing(server.simulator, self._endpoint) | dict(_made(manifests))
        self._lay_out()
        self._environment = self._image() | dict(self._variables())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the exporter has logged."""
        return self._log.read_text("utf-8") if self._log.exists() else ""

    def run(self) -> dict[str, Any]:
        """Start it, probe it, scrape it, ask by `helm test`, end it; return what was seen."""
        started = time.monotonic()
        process = self.start()
        ready = time.monotonic() - started
        liveness = self._container["livenessProbe"]
        page = self._scrape()
        while not re.search(r"^office365_activations_exporter_tenants_pending 0\.0$", page, re.MULTILINE):
            self._must_live()
            time.sleep(_PAUSE)
            page = self._scrape()
        for _ in range(1 + liveness.get("failureThreshold", 3)):
            self._must_live()
            assert self._probe(liveness) == "", "a liveness probe fails after the exporter was ready"
        self._helm_test()
        process.send_signal(signal.SIGTERM)
        code = process.wait(self._spec["terminationGracePeriodSeconds"])
        (storage,) = (mount["mountPath"] for mount in self._container["volumeMounts"] if mount["name"] == "storage")
        stored = sorted(path.name for path in self._inside(Path(storage)).rglob("*"))
        return {"ready": round(ready, 2), "metrics": page, "stored": stored, "exit code": code, "log": self.log}

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and probe it until it is ready."""
        entry = json.loads(_dockerfile("ENTRYPOINT"))
        with self._log.open("wb") as log:
            command = self._container.get("command", entry) + self._container.get("args", [])
            self._process = self._start(command, stdout=log, stderr=log)
        self._wait_for(self._container.get("startupProbe", self._container["livenessProbe"]), "started")
        self._wait_for(self._container["readinessProbe"], "ready")
        return self._process

    def kill(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _mutate(self) -> None:
        """Do what azure-workload-identity's webhook does (azure.github.io/azure-workload-identity)."""
        if self._metadata["labels"].get("azure.workload.identity/use") != "true":
            return
        annotations = one(self._manifests, "ServiceAccount")["metadata"]["annotations"]
        token = {"audience": "api://AzureADTokenExchange", "expirationSeconds": 3600, "path": "azure-identity-token"}
        self._spec["volumes"].append(
            {"name": "azure-identity-token", "projected": {"sources": [{"serviceAccountToken": token}]}}
        )
        self._container["volumeMounts"].append({"name": "azure-identity-token", "mountPath": _TOKENS})
        variables = {
            "AZURE_CLIENT_ID": annotations["azure.workload.identity/client-id"],
            "AZURE_TENANT_ID": annotations["azure.workload.identity/tenant-id"],
            "AZURE_FEDERATED_TOKEN_FILE": f"{_TOKENS}/azure-identity-token",
            "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
        }
        self._container.setdefault("env", []).extend({"name": key, "value": text} for key, text in variables.items())

    # Files

    def _lay_out(self) -> None:
        """Put the container's root together: the machine's programs, a small /etc, and the pod's volumes."""
        _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(self._root))
        for path in map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/dev", "/proc")):
            if path.is_symlink():
                self._inside(path).symlink_to(path.readlink())
            elif path.is_dir():
                self._bind(path)
        hosts = dict.fromkeys(("localhost", *real_hosts()), "127.0.0.1")
        service = one(self._manifests, "Service")
        hosts[f"{service['metadata']['name']}.{service['metadata']['namespace']}"] = _SERVICE
        lines = [f"{address} {host}\n" for host, address in hosts.items()]
        lines += [f"{alias['ip']} {' '.join(alias['hostnames'])}\n" for alias in self._spec.get("hostAliases", [])]
        self._write("/etc/hosts", "".join(lines).encode())
        self._write(_AUTHORITY, self._server.ca_file.read_bytes())
        self._write("/etc/ld.so.cache", Path("/etc/ld.so.cache").read_bytes())
        sources = {volume["name"]: volume for volume in self._spec["volumes"]}
        for claim in workload(self._manifests)["spec"].get("volumeClaimTemplates", []):
            sources[claim["metadata"]["name"]] = {"persistentVolumeClaim": {}}
        for mount in self._container["volumeMounts"]:
            folder = self._inside(Path(mount["mountPath"]))
            folder.mkdir(parents=True)
            self._fill(folder, sources[mount["name"]])
            _mount("--bind", str(folder), str(folder))
            if mount.get("readOnly"):
                _mount("-o", "remount,bind,ro", str(folder))
        # What runs stands at its own paths, even in the pod's /tmp, and where the image has it.
        for path in sorted({ROOT, Path(sys.prefix), Path(sys.base_prefix)}):
            if not self._inside(path).exists():
                self._bind(path)
        self._inside(Path("/opt")).mkdir(exist_ok=True)
        self._inside(Path("/opt/exporter")).symlink_to(sys.prefix)
        if self._container["securityContext"]["readOnlyRootFilesystem"]:
            _mount("-o", "remount,bind,ro", str(self._root))

    def _inside(self, path: Path) -> Path:
        return self._root / path.relative_to("/")

    def _bind(self, path: Path) -> None:
        self._inside(path).mkdir(parents=True)
        _mount("--rbind", str(path), str(self._inside(path)))

    def _write(self, path: str, content: bytes) -> None:
        file = self._inside(Path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def _fill(self, folder: Path, volume: Manifest) -> None:
        """Fill a mount as the kubelet does: files are links to a folder that is swapped whole; fsGroup owns them."""
        group = self._spec["securityContext"]["fsGroup"]
        if "emptyDir" in volume or "persistentVolumeClaim" in volume:
            folder.chmod(0o2777 if "emptyDir" in volume else 0o2775)
            os.chown(folder, -1, group)
            return
        mode = next(iter(kind for kind in volume.values() if isinstance(kind, dict))).get("defaultMode", 0o644)
        version = folder / "..2026_11_27"
        version.mkdir()
        (folder / "..data").symlink_to(version.name)
        for name, content in self._files(volume).items():
            file = version / name
            file.write_bytes(content)
            file.chmod(mode)
            os.chown(file, -1, group)
            (folder / name).symlink_to(f"..data/{name}")

    def _files(self, volume: Manifest) -> dict[str, bytes]:
        match volume:
            case {"configMap": source}:
                return self._objects["ConfigMap", source["name"]]
            case {"secret": source}:
                return self._objects["Secret", source.get("secretName") or source["name"]]
            case {"csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": source}}:
                return self._objects["SecretProviderClass", source["secretProviderClass"]]
            case {"serviceAccountToken": source}:
                return {source["path"]: self._token(source["audience"])}
            case {"projected": {"sources": sources}}:
                return {name: content for source in sources for name, content in self._files(source).items()}
        raise AssertionError(f"a volume that no kubelet is known to fill: {volume}")

    def _token(self, audience: str) -> bytes:
        """Return a token of the pod's service account, which the app trusts."""
        subject = f"system:serviceaccount:{self._namespace}:{self._spec['serviceAccountName']}"
        trusted = Federation("https://oidc.example.com/", subject)
        self._server.simulator.register_federation("contoso", trusted)
        return federated_assertion(replace(trusted, audience=audience), time.time()).encode()

    # Processes

    def _image(self) -> dict[str, str]:
        """Return the variables that the image sets."""
        words = re.findall(r"([A-Z0-9_]+)=(\S*)", _dockerfile("ENV"))
        outer = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "REVISION": ""}
        return {name: string.Template(text).substitute(outer) for name, text in words} | {"SSL_CERT_FILE": _AUTHORITY}

    def _variables(self) -> Iterator[tuple[str, str]]:
        for source in self._container.get("envFrom", []):
            ((kind, reference),) = ((key, value) for key, value in source.items() if key != "prefix")
            found = self._objects[{"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"]]
            yield from ((source.get("prefix", "") + name, content.decode()) for name, content in found.items())
        for entry in self._container.get("env", []):
            if "value" in entry:
                yield entry["name"], entry["value"]
                continue
            ((kind, reference),) = entry["valueFrom"].items()
            found = self._objects[{"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}[kind], reference["name"]]
            yield entry["name"], found[reference["key"]].decode()

    def _start(self, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start a command in the container, as its user."""
        pod, own = self._spec["securityContext"], self._container["securityContext"]
        ids = [f"--reuid={pod['runAsUser']}", f"--regid={pod['runAsGroup']}"]
        ids += [f"--groups={pod['fsGroup']}"] if os.getuid() == 0 else ["--keep-groups"]
        less = [f"--{kind}-caps=-all" for kind in ("inh", "ambient") if own["capabilities"]["drop"] == ["ALL"]]
        less += ["--bounding-set=-all"] if less else []
        less += [] if own["allowPrivilegeEscalation"] else ["--no-new-privs"]
        user = ["setpriv", *ids, *less, "--pdeathsig=KILL"]
        return subprocess.Popen(["chroot", str(self._root), *user, *command], env=self._environment, **streams)

    def _must_live(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"the exporter ended with {self._process.returncode}"

    # Probes and scrapes

    def _wait_for(self, probe: Manifest, what: str) -> None:
        """Probe until it succeeds, for as long as a kubelet would."""
        end = time.monotonic() + probe.get("initialDelaySeconds", 0)
        end += probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        while error := self._probe(probe):
            self._must_live()
            assert time.monotonic() < end, f"not {what}: {error}"
            time.sleep(_PAUSE)

    def _probe(self, probe: Manifest) -> str:
        """Probe once; return what is wrong, or nothing."""
        timeout = probe.get("timeoutSeconds", 1)
        try:
            match probe:
                case {"exec": {"command": command}}:
                    process = self._start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                    text = process.communicate(timeout=timeout)[0].decode()
                    return "" if process.returncode == 0 else text
                case {"tcpSocket": {"port": port}}:
                    socket.create_connection(("127.0.0.1", self._port(port)), timeout).close()
                    return ""
                case {"httpGet": {"port": port, "path": path, "scheme": scheme}}:
                    place = ("127.0.0.1", self._port(port))
                    # A kubelet takes any certificate.
                    untrusting = ssl._create_unverified_context()  # noqa: S323 - as the kubelet
                    client = (
                        http.client.HTTPSConnection(*place, timeout=timeout, context=untrusting)
                        if scheme == "HTTPS"
                        else http.client.HTTPConnection(*place, timeout=timeout)
                    )
                    client.request("GET", path, headers={"User-Agent": "kube-probe/1.37", "Accept": "*/*"})
                    status = client.getresponse().status
                    client.close()
                    return "" if 200 <= status < 400 else f"{path}: {status}"
        except (OSError, http.client.HTTPException) as error:
            return f"{error!r}"
        raise AssertionError(f"a probe of no known kind: {probe}")

    def _port(self, port: int | str) -> int:
        named = {entry["name"]: entry["containerPort"] for entry in self._container["ports"]}
        return port if isinstance(port, int) else int(named[port])

    def _scrape(self) -> str:
        """Scrape as Prometheus' operator sets it up from the monitor; the page."""
        endpoint, tls = self._endpoint, self._endpoint.get("tlsConfig", {})
        auth = None
        if basic := endpoint.get("basicAuth"):
            auth = (self._referred({"secret": basic["username"]}), self._referred({"secret": basic["password"]}))
        verify: ssl.SSLContext | bool = True
        if endpoint["scheme"] == "https":
            verify = ssl.create_default_context(cadata=self._referred(tls["ca"]).decode())
            if "cert" in tls:
                with tempfile.NamedTemporaryFile() as pair:
                    pair.write(self._referred(tls["cert"]) + self._referred({"secret": tls["keySecret"]}))
                    pair.flush()
                    verify.load_cert_chain(pair.name)
        address = f"{endpoint['scheme']}://127.0.0.1:{self._port(endpoint['port'])}{endpoint['path']}"
        with httpx.Client(verify=verify, auth=auth, trust_env=False) as client:
            answer = client.get(address, extensions={"sni_hostname": tls["serverName"]} if tls else {})
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return answer.text

    def _referred(self, reference: Manifest) -> bytes:
        kinds = {"secret": "Secret", "configMap": "ConfigMap"}
        ((kind, key),) = reference.items()
        return self._objects[kinds[kind], key["name"]][key["key"]]

    def _helm_test(self) -> None:
        """Do what `helm test` does: its pod asks by the Service's name and port."""
        (port,) = one(self._manifests, "Service")["spec"]["ports"]
        if port["port"] != self._port(port["targetPort"]):  # else it is open there already
            _forward(_SERVICE, port["port"], self._port(port["targetPort"]))
        asks = one(self._manifests, "Pod", "-test")["spec"]["containers"][0]
        process = self._start(asks["command"] + asks["args"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = process.communicate()[0].decode()
        assert process.returncode == 0, f"helm test: {text}"


def _simulator() -> Simulator:
    """Return the simulation of the tenant that the `ci/` files name."""
    tenant = replace(Simulator(tenants=1).tenants[0], tenant_id=_TENANT, client_id=_CLIENT, secret=_SECRET)
    with mock.patch("exporter.simulator.state.make_tenants", return_value=(tenant,)):
        return Simulator(tenants=1)


def _existing(simulator: Simulator, endpoint: Manifest) -> dict[tuple[str, str], dict[str, bytes]]:
    """Return what the `ci/` files take for there already."""
    tenant = {
        "name": "contoso",
        "tenant_id": _TENANT,
        "client_id": _CLIENT,
        "auth": {"client_secret_file": "/run/secrets/office365-activations-exporter/contoso"},
    }
    inline = {**tenant, "auth": {"client_secret": _SECRET}}
    app = make_pair()
    simulator.register_certificate("contoso", app.certificate)
    authority = trustme.CA()
    name = endpoint.get("tlsConfig", {}).get("serverName", "exporter.example.com")
    server, client = authority.issue_cert(name), authority.issue_cert("prometheus.example.com")
    tls = "/etc/office365-activations-exporter/tls"
    web = {
        "cert_file": f"{tls}/tls.crt",
        "key_file": f"{tls}/tls.key",
        "client_ca_file": f"{tls}/ca.crt",
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    plain: dict[tuple[str, str], dict[str, Any]] = {
        ("Secret", "office365"): {"contoso": _SECRET},
        ("Secret", "office365-tenants"): {"all.yml": yaml.safe_dump({"tenants": [inline]})},
        ("Secret", "office365-app"): {"tls.crt": app.certificate, "tls.key": app.key},
        ("Secret", "office365-web"): {"web-config.yml": yaml.safe_dump({"tls_server_config": web})},
        ("Secret", "office365-web-tls"): {**_tls(server), "ca.crt": authority.cert_pem.bytes()},
        ("Secret", "prometheus-office365"): {"username": "prometheus", "password": "placeholder"},
        ("Secret", "prometheus-office365-tls"): _tls(client),
        ("ConfigMap", "office365"): {"config.yml": yaml.safe_dump({"tenants": [tenant]})},
        ("ConfigMap", "office365-environment"): {"OFFICE365_EXPORTER_POLL__JITTER": "1m"},
        ("SecretProviderClass", "office365-vault"): {"contoso.pem": app.key + app.certificate},
    }
    return {
        key: {file: content if isinstance(content, bytes) else content.encode() for file, content in files.items()}
        for key, files in plain.items()
    }


def _tls(issued: trustme.LeafCert) -> dict[str, bytes]:
    """Return a Secret of type kubernetes.io/tls."""
    return {
        "tls.crt": b"".join(pem.bytes() for pem in issued.cert_chain_pems),
        "tls.key": issued.private_key_pem.bytes(),
    }


def _made(manifests: list[Manifest]) -> Iterator[tuple[tuple[str, str], dict[str, bytes]]]:
    """Yield the ConfigMaps and Secrets that the chart made."""
    read: Mapping[str, Callable[[str], bytes]] = {"ConfigMap": str.encode, "Secret": base64.b64decode}
    for manifest in manifests:
        if decode := read.get(manifest["kind"]):
            files = {name: decode(text) for name, text in manifest.get("data", {}).items()}
            yield (manifest["kind"], manifest["metadata"]["name"]), files


def _dockerfile(instruction: str) -> str:
    """Return the words of the Dockerfile's last instruction of a kind."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    *_, last = re.finditer(rf"^{instruction} (.*)$", text, re.MULTILINE)
    return last[1]


def _configure_loopback() -> None:
    """Bring up the loopback of this network, with the metadata address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x1))  # SIOCSIFFLAGS, IFF_UP
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(IMDS.rpartition("/")[2]))
        fcntl.ioctl(control, 0x8916, address)  # SIOCSIFADDR


def _forward(host: str, port: int, to: int) -> None:
    """Lead an address of this network to a port of loopback, as a Service does, until the process ends."""
    listener = socket.create_server((host, port))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # whoever went away without a word
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", to))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
