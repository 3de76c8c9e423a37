"""deploy/compose: Prometheus, Alertmanager and Grafana around the exporter."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.config.yamlfile import read_yaml
from tests.delivery.pod import NAMESPACES
from tests.delivery.stack import COMPOSE, PROGRAMS, ROOT
from tests.tools import missing, require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = sorted(path for path in COMPOSE.rglob("*") if path.suffix in {".yaml", ".yml"})


def load(name: str) -> Any:
    """Return a file of the folder."""
    return yaml.safe_load((COMPOSE / name).read_text("utf-8"))


def test_inhibitions_are_those_of_monitoring(golden: Callable[[Path, str], None]) -> None:
    """Alertmanager's file ends with monitoring/inhibit_rules.yml, which it cannot include."""
    path = COMPOSE / "alertmanager.yml"
    mark = "# monitoring/inhibit_rules.yml:\n"
    head = path.read_text("utf-8").partition(mark)[0]
    golden(path, head + mark + (ROOT / "monitoring/inhibit_rules.yml").read_text("utf-8"))


def test_compose_files_follow_their_schema() -> None:
    """compose.yaml and tenants.yaml are valid by the Compose specification's schema, which takes no unknown key."""
    command = [str(require("check-jsonschema")), "--builtin-schema=vendor.compose-spec"]
    files = [str(COMPOSE / name) for name in ("compose.yaml", "tenants.yaml")]
    ended = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_every_mounted_file_exists() -> None:
    """What is mounted is in the checkout, read-only, but for the folder that docs/compose.md has users fill."""
    mounted = [
        volume.split(":")
        for name in ("compose.yaml", "tenants.yaml")
        for service in load(name)["services"].values()
        for volume in service.get("volumes", [])
    ]
    files = {source: mode for source, _, *mode in mounted if source.startswith(".")}
    assert set(map(tuple, files.values())) == {("ro",)}
    assert {source for source in files if not (COMPOSE / source).is_file()} == {"./office365"}


def test_the_simulation_is_not_the_past_of_ones_own_tenants() -> None:
    """With tenants.yaml, whose mounts replace those of the same path, no number of the simulation is kept."""
    for service in ("exporter", "prometheus"):
        own, simulated = (
            {target: source for source, target, *_ in (volume.split(":") for volume in one.get("volumes", []))}
            for one in (load(name)["services"][service] for name in ("tenants.yaml", "compose.yaml"))
        )
        kept = {source for source in (simulated | own).values() if not source.startswith(".")}
        assert kept & set(load("compose.yaml")["volumes"]) == set()


def test_every_port_is_this_machines_only() -> None:
    """Nothing is published beyond loopback: neither Prometheus nor Grafana asks for a password."""
    for service in load("compose.yaml")["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_every_image_of_others_has_a_digest() -> None:
    """An image that is not built here is named by tag and digest, which Renovate is set to raise together."""
    services = load("compose.yaml")["services"].values()
    for service in (one for one in services if "build" not in one):
        assert re.fullmatch(r"[\w/]+:v?[\d.]+@sha256:[0-9a-f]{64}", service["image"]), service["image"]
    assert "docker:pinDigests" in json.loads((ROOT / ".github/renovate.json").read_text("utf-8"))["extends"]


def test_grafana_gets_every_dashboard() -> None:
    """Each dashboard of monitoring/ is mounted where the provider looks; they take the default data source."""
    mounts = dict(volume.split(":")[:2] for volume in load("compose.yaml")["services"]["grafana"]["volumes"])
    (provider,) = load("grafana/dashboards.yaml")["providers"]
    boards = {path.name for path in (ROOT / "monitoring/dashboards").glob("*.json")}
    assert {f"{provider['options']['path']}/{name}" for name in boards} <= set(mounts.values())
    (source,) = load("grafana/datasources.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_key_stands_twice(path: Path) -> None:
    """Every file is strict YAML."""
    assert read_yaml(path).errors == ()


def test_prometheus_and_alertmanager_take_their_files(tmp_path: Path) -> None:
    """`promtool check config` and `amtool check-config` find no error, with the rules where they are mounted."""
    (tmp_path / "office365").mkdir()
    shutil.copy(COMPOSE / "prometheus.yml", tmp_path)
    shutil.copy(ROOT / "monitoring/rules.yml", tmp_path / "office365")
    for tool, command, path in (
        ("promtool3", ("check", "config", "--lint-fatal"), tmp_path / "prometheus.yml"),
        ("amtool", ("check-config",), COMPOSE / "alertmanager.yml"),
    ):
        ended = subprocess.run([str(require(tool)), *command, str(path)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_stack_runs(tmp_path: Path) -> None:
    """Prometheus scrapes three tenants, loads all rules, and reaches an Alertmanager with the inhibitions."""
    for program in ("prometheus3", "alertmanager3"):
        require(program)
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        missing(f"mount and network namespaces need root, or user namespaces for everybody: {tried.stderr.strip()}")
    command = [*NAMESPACES, sys.executable, "-m", "tests.delivery.stack", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    rules = yaml.safe_load((ROOT / "monitoring/rules.yml").read_text("utf-8"))
    assert seen["tenants"] == {"office365-activations": 3}
    for group in rules["groups"]:
        late = {"unknown"} if group.get("interval") == "5m" else set()
        health = seen["rules"][group["name"]]
        assert len(health) == len(group["rules"])
        assert set(health) <= {"ok", *late}, group["name"]
    assert seen["alertmanagers"] == [{"url": "http://alertmanager:9093/api/v2/alerts"}]
    inhibitions = yaml.safe_load((ROOT / "monitoring/inhibit_rules.yml").read_text("utf-8"))
    assert len(seen["alertmanager"]["inhibit_rules"]) == len(inhibitions["inhibit_rules"])
    assert set(load("compose.yaml")["services"]) == {*PROGRAMS, "grafana"}
