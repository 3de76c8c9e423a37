"""What the container image must be: tests/delivery/build_image runs this against what it has built (EXPORTER_IMAGE)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from exporter import __version__
from tests.delivery.container import FILES, ROOT, STORAGE, Container
from tests.full_simulator import Simulator, SimulatorServer, Stage
from tests.process import configure
from tests.tools import free_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER = 65532
FILE = "OFFICE365_EXPORTER_CONFIG__FILE"
WHERE = "OFFICE365_EXPORTER_WEB__LISTEN_ADDRESS"
ALL_POLLED = "office365_activations_exporter_tenants_pending 0.0"


@dataclass(frozen=True)
class Image:
    """An image, unpacked."""

    root: Path
    config: dict[str, Any]
    layers: tuple[int, ...]
    """Sizes of its layers over the base's, in bytes."""


def buildah(*words: str) -> str:
    """Run buildah and return what it prints."""
    return subprocess.run(["buildah", *words], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Unpack the image."""
    name = os.environ["EXPORTER_IMAGE"]
    inspected = json.loads(buildah("inspect", "--type", "image", name))
    config = inspected["Docker"]["config"]
    base = json.loads(buildah("inspect", "--type", "image", config["Labels"]["org.opencontainers.image.base.name"]))
    below, layers = (json.loads(one["Manifest"])["layers"] for one in (base, inspected))
    container = buildah("from", "--pull-never", name)
    try:
        root = Path(buildah("mount", container))
        yield Image(root, config, tuple(layer["size"] for layer in layers[len(below) :]))
    finally:
        buildah("rm", container)


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    """Simulate Microsoft on this host."""
    with SimulatorServer(Simulator()) as made:
        yield made


def configured(server: SimulatorServer, folder: Path) -> str:
    """Configure the simulated tenants by a file in a container's folder; return where the container sees it."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    path = configure(server, files)
    path.write_text(path.read_text("utf-8").replace(str(files), FILES), "utf-8")
    path.chmod(0o444)
    return f"{FILES}/{path.name}"


def wait_until(true: Callable[[], bool], container: Container) -> None:
    """Wait until something is so, as long as the container lives."""
    end = time.monotonic() + 120
    while not true():
        container.must_live()
        assert time.monotonic() < end, container.log
        time.sleep(0.1)


def metrics(address: str) -> str:
    """Return a scrape by this host; empty while the first is rendered."""
    answer = httpx.get(f"http://{address}/metrics", trust_env=False)
    return answer.text if answer.status_code == 200 else ""


def test_runs_unprivileged(image: Image, server: SimulatorServer, tmp_path: Path) -> None:
    """By its entry point, read-only, as 65532 without a capability, one process answers this host, and ends with 0."""
    variables = {FILE: configured(server, tmp_path), WHERE: free_address()}
    with Container(image.root, image.config, variables, tmp_path) as container:
        wait_until(container.healthy, container)
        wait_until(lambda: ALL_POLLED in metrics(variables[WHERE]), container)
        page = metrics(variables[WHERE])
        assert "office365_activations_assigned_users{" in page
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.strip()
        assert re.search(rf'^office365_activations_exporter_build_info\{{.*revision="{revision}', page, re.MULTILINE)
        process = Path(f"/proc/{container.first}")
        status = dict(re.findall(r"^(\w+):\t(.*)$", (process / "status").read_text("ascii"), re.MULTILINE))
        assert set(status["Uid"].split() + status["Gid"].split()) == {str(USER)}
        assert [int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [0] * 5
        assert status["NoNewPrivs"] == "1"
        assert [path.name for path in (process / "root/proc").iterdir() if path.name.isdecimal()] == ["1"]
        assert container.stop(5) == 0


def test_keeps_reports_without_tmp(image: Image, server: SimulatorServer, tmp_path: Path) -> None:
    """It needs no writable place but its volume, which nobody else may read; a restart reads the reports back."""
    before = server.simulator.count("contoso", Stage.GRAPH)
    for _ in range(2):
        variables = {FILE: configured(server, tmp_path), WHERE: free_address()}
        with Container(image.root, image.config, variables, tmp_path) as container:
            wait_until(container.healthy, container)
            wait_until(lambda: ALL_POLLED in metrics(variables[WHERE]), container)  # noqa: B023 - called at once
            assert "office365_activations_exporter_storage_up 1.0" in metrics(variables[WHERE]), container.log
            assert container.stop(5) == 0
    assert server.simulator.count("contoso", Stage.GRAPH) == before + 1
    volume = (tmp_path / "volume").stat()
    assert (volume.st_mode & 0o7777, volume.st_uid, volume.st_gid) == (0o700, USER, USER)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "volume").rglob("*")} == {0}


def test_demo(image: Image, tmp_path: Path) -> None:
    """`demo`, as docs/image.md runs it, shows its tenants with no writable place but /tmp."""
    (tmp_path / "files").mkdir()
    variables, demo = {WHERE: free_address()}, image.config | {"Cmd": ["demo"]}
    with Container(image.root, demo, variables, tmp_path, temporary=True) as container:
        wait_until(container.healthy, container)
        wait_until(lambda: ALL_POLLED in metrics(variables[WHERE]), container)
        assert container.stop(5) == 0


@pytest.mark.parametrize("case", ["as it is", "port", "prefix", "TLS"])
def test_health_check(image: Image, server: SimulatorServer, case: str, tmp_path: Path) -> None:
    """The image's health check finds the exporter wherever its variables put it, and fails where there is none."""
    variables = {FILE: configured(server, tmp_path)}
    if case != "as it is":
        variables[WHERE] = free_address()
    if case == "prefix":
        variables["OFFICE365_EXPORTER_WEB__ROUTE_PREFIX"] = "/o365"
    if case == "TLS":
        issued = trustme.CA().issue_cert("exporter.example.com")
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "files/pair.pem")
        web = f"tls_server_config: {{cert_file: {FILES}/pair.pem, key_file: {FILES}/pair.pem}}\n"
        (tmp_path / "files/web.yml").write_text(web, "utf-8")
        variables["OFFICE365_EXPORTER_WEB__CONFIG__FILE"] = f"{FILES}/web.yml"
    alone = WHERE not in variables  # the usual port may be somebody's on this host
    with Container(image.root, image.config, variables, tmp_path, network=alone) as container:
        wait_until(container.healthy, container)
        assert not container.healthy(**{WHERE: free_address()})


def test_only_what_runs(image: Image) -> None:
    """It has no scripts for shells, no tools of libraries, no pip, no C; it has bytecode for every module."""
    added = image.root / "opt/exporter"
    assert sorted(path.name for path in added.iterdir()) == ["bin", "lib", "lib64", "pyvenv.cfg", "sbom.cdx.json"]
    programs = {path.name for path in (added / "bin").iterdir()}
    assert {name for name in programs if not name.startswith("python")} == {"office365-activations-exporter"}
    suffixes = {path.suffix for path in added.rglob("*") if path.is_file()}
    assert suffixes.isdisjoint({".c", ".h", ".pxd", ".pxi", ".pyi", ".pyx"})
    modules = [path for path in added.rglob("*.py") if "/lib2to3/" not in str(path)]
    assert modules
    for module in modules:
        assert list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")), module
    for path in ("lib", "bin"):
        assert not [found for found in (image.root / "usr/local" / path).rglob("pip*") if found.exists()]
    imported = ["chroot", str(image.root), "/opt/exporter/bin/python", "-c", "import pip"]
    assert "No module named 'pip'" in subprocess.run(imported, capture_output=True, text=True, check=False).stderr
    storage = (image.root / STORAGE.lstrip("/")).stat()
    assert (storage.st_mode & 0o7777, storage.st_uid, storage.st_gid) == (0o700, USER, USER)
    assert (image.root / "var/lib").stat().st_uid == 0
    assert not [path for path in added.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6022]


def test_labels(image: Image) -> None:
    """Its labels say what it is, of which commit and when, where from, and over which base."""
    labels = {name.rpartition("image.")[2]: text for name, text in image.config["Labels"].items()}
    git = ["git", "log", "-1", "--format=%H %ct"]
    revision, moment = subprocess.run(git, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert labels["version"] == __version__
    assert labels["revision"].removesuffix("-dirty") == revision
    assert labels["created"] == datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert labels["source"] == labels["url"] != ""
    assert labels["documentation"].startswith(labels["source"])
    assert labels["licenses"] == "Apache-2.0"
    assert labels["title"] == "office365-activations-exporter"
    assert labels["base.name"].startswith("localhost/stand-in/")  # a stand-in has no digest that anybody could pull
    assert "base.digest" not in labels


def test_sbom(image: Image) -> None:
    """Its SBOM is valid CycloneDX and lists each package that is installed, Python's and Debian's, and no other."""
    text = (image.root / "opt/exporter/sbom.cdx.json").read_text("utf-8")
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert error is None, error
    document = json.loads(text)
    listed = {component["purl"].partition("?")[0] for component in document["components"]}
    assert len(listed) == len(document["components"])
    installed = {path.name for path in image.root.glob("opt/exporter/lib/python3*/site-packages/*.dist-info")}
    own = f"office365_activations_exporter-{__version__}.dist-info"
    python = [purl for purl in listed if purl.startswith("pkg:pypi/")]
    assert {re.sub(r"[-_.]+", "-", purl.partition("/")[2].replace("@", "-").lower()) for purl in python} == {
        re.sub(r"[-_.]+", "-", name.removesuffix(".dist-info").lower()) for name in installed - {own}
    }
    assert document["metadata"]["component"]["version"] == __version__
    status = (image.root / "var/lib/dpkg/status").read_text("utf-8")
    debian = [entry for entry in status.split("\n\n") if "\nStatus: install ok installed\n" in entry]
    assert len([purl for purl in listed if purl.startswith("pkg:deb/")]) == len(debian) > 50


def test_size(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    """What it adds to its base is what docs/image.md says, within a tenth."""
    size = sum(image.layers) / 1e6
    with capsys.disabled():
        print(f"image: {size:.0f} MB over its base")  # noqa: T201 - the figure that people want to see
    (said,) = re.findall(r"adds (\d+) MB", (ROOT / "docs" / "image.md").read_text("utf-8"))
    assert size == pytest.approx(int(said), rel=0.1)
