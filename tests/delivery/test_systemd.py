"""The systemd units, held by systemd itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from exporter.cli.simulator import write_configuration
from exporter.simulator.server import SimulatorServer
from exporter.simulator.simulator import Simulator
from tests.delivery import release
from tests.docs.markdown import blocks
from tests.tools import free_address, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
UNITS = ROOT / "deploy" / "systemd"
PAGE = ROOT / "docs" / "systemd.md"
SERVICE = "office365-activations-exporter"
ONCE = f"{SERVICE}-once"
TEXTFILE = "/var/lib/prometheus/node-exporter/office365-activations.prom"
GAUGE = "office365_activations_assigned_users"
SECONDS = 120.0


def settings(unit: str) -> list[str]:
    """Return a unit's lines of settings."""
    return re.findall(r"^\w+=.*$", (UNITS / unit).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("unit", [f"{SERVICE}.service", f"{ONCE}.service"])
def test_exposure(unit: str) -> None:
    """`systemd-analyze security` gives each service an exposure of 2.0 or less."""
    command = [str(require("systemd-analyze")), "security", "--offline=true", "--threshold=20", str(UNITS / unit)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert float(re.findall(r"exposure level for .*: ([\d.]+)", ended.stdout)[0]) <= 2.0


def test_both_services_are_hardened_alike() -> None:
    """What `once` may do is what `serve` may do, but for the folder of its file."""
    first, second = (settings(f"{name}.service") for name in (SERVICE, ONCE))
    assert first[first.index("DynamicUser=yes") : -1] == second[second.index("DynamicUser=yes") :]


def test_the_timer_runs_every_hour() -> None:
    """The timer's calendar is read by systemd as the full hour."""
    calendar = next(line for line in settings(f"{ONCE}.timer") if line.startswith("OnCalendar="))
    command = [str(require("systemd-analyze")), "calendar", "--iterations=2", calendar.partition("=")[2]]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Normalized form: *-*-* *:00:00" in shown


class Machine:
    """A systemd that runs in namespaces of its own.

    Args:
        leader: its process, outside.
        log: where its services' output goes.
    """

    def __init__(self, leader: int, log: Path) -> None:
        self._leader = leader
        self._log = log

    def run(self, *command: str, folder: Path = ROOT) -> str:
        """Run a command in there; it has to end well."""
        inside = ("nsenter", f"--target={self._leader}", "--mount", "--pid", "--ipc", "--uts", f"--wd={folder}")
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        ended = subprocess.run(
            [*inside, *command], capture_output=True, text=True, check=False, env=path, timeout=SECONDS
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}\n{self.log}"
        return ended.stdout

    def show(self, unit: str, *names: str) -> list[str]:
        """Return properties of a unit."""
        text = self.run("systemctl", "show", *(f"--property={name}" for name in names), unit)
        found = dict(line.partition("=")[::2] for line in text.splitlines())
        return [found[name] for name in names]

    @property
    def log(self) -> str:
        """What the services have said."""
        return self._log.read_text("utf-8") if self._log.exists() else ""


def wait_until(true: Callable[[], bool], machine: Machine) -> None:
    """Wait for what the service does."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"it has not come to pass; the log:\n{machine.log}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has the wheel with its locked dependencies, as /opt will have."""
    python = next((path for path in map(shutil.which, ("/usr/bin/python3", "/usr/local/bin/python3")) if path), None)
    found = release.probe(python) if python else None
    if found is None or found[0] not in release.classifiers():
        pytest.skip("no Python that every user of this machine may run is new enough")
    folder = tmp_path_factory.mktemp("installed")
    wheel = release.build(folder / "dist")
    (folder / "opt").mkdir()
    release.install(folder / "opt" / SERVICE, found[1], wheel)
    return folder / "opt"


@pytest.fixture
def machine(installed: Path, tmp_path: Path) -> Iterator[Machine]:
    """Boot a systemd that has nothing to run yet."""
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        pytest.skip("a systemd can be booted by root only, where it is installed")
    (tmp_path / "opt").symlink_to(installed)
    log = tmp_path / "boot.log"
    command = [ROOT / "tests/delivery/boot_systemd", tmp_path]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            end = time.monotonic() + SECONDS
            while True:
                if outer.poll() is not None or time.monotonic() > end:
                    pytest.skip(f"no systemd can be booted here: {log.read_text('utf-8')}")
                leader = children.read_text("utf-8").split()
                if leader and Path(f"/proc/{leader[0]}/root/run/systemd/private").exists():
                    break
                time.sleep(0.05)
            yield Machine(int(leader[0]), tmp_path / "log")
        finally:
            outer.kill()


def commands() -> list[str]:
    """Return the commands of the page, block by block, but for those that install from the package index."""
    return [block.text for block in blocks(PAGE) if block.language == "sh" and "pip install" not in block.text]


def configure(server: SimulatorServer, folder: Path, tenants: int) -> str:
    """Write the page's files for a simulation into a folder; return the address that the service will listen on."""
    path = write_configuration(server, folder)
    document: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    document["tenants"] = document["tenants"][:tenants]
    (secret,) = {one.pop("auth")["client_secret"] for one in document["tenants"]}
    document["http"]["ca_file"] = "ca.pem"
    document["auth"] = {"client_secret_file": "client-secret"}
    path.write_text(yaml.safe_dump(document), "utf-8")
    (folder / "client-secret").write_text(secret, "utf-8")
    address = free_address()
    variables = {"WEB__LISTEN_ADDRESS": address, "AUTH__EXPIRES": "2099-01-31"}
    lines = [f"OFFICE365_EXPORTER_{name}={value}\n" for name, value in variables.items()]
    (folder / "environment").write_text("".join(lines), "utf-8")
    return address


def scrape(address: str) -> str:
    """Return /metrics."""
    return httpx.get(f"http://{address}/metrics", trust_env=False).text


def tenants(text: str) -> set[str]:
    """Return the tenants whose numbers are there."""
    return set(re.findall(rf'^{GAUGE}{{.*?tenant="([^"]+)"', text, re.MULTILINE))


@pytest.fixture
def work(machine: Machine, tmp_path: Path) -> Path:
    """Return the folder in which the page's commands run; what they need beyond its files is there."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "deploy").symlink_to(ROOT / "deploy")
    return folder


INSTALL = ("install", "-D", "--mode=0644", f"--target-directory=/etc/{SERVICE}")


def test_the_page_installs_a_service_that_works(machine: Machine, work: Path) -> None:
    """As docs/systemd.md says: started, reloaded, killed when it hangs, stopped; the secret is a credential."""
    service = f"{SERVICE}.service"
    with SimulatorServer(Simulator(tenants=2, shared_app=True)) as server:
        address = configure(server, work, tenants=1)
        machine.run(*INSTALL, "environment", "ca.pem", folder=work)
        drop_in = f"/etc/systemd/system/{service}.d"
        machine.run("sh", "-c", f"mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=2s\\n' >{drop_in}/quick.conf")
        machine.run("sh", "-ec", commands()[0], folder=work)

        units = [f"/etc/systemd/system/{path.name}" for path in sorted(UNITS.iterdir())]
        assert machine.run("systemd-analyze", "verify", *units) == ""
        assert machine.show(service, "ActiveState", "SubState") == ["active", "running"]
        wait_until(lambda: len(tenants(scrape(address))) == 1, machine)
        assert machine.run("stat", "--format=%a", f"/var/lib/private/{SERVICE}") == "700\n"
        machine.run("test", "-s", f"/var/lib/{SERVICE}/office365-activations.db")
        assert "credential_expiry_timestamp_seconds{" in scrape(address)
        started = float(re.findall(r"^process_start_time_seconds (\S+)", scrape(address), re.MULTILINE)[0])
        assert time.time() - 3600 < started <= time.time()

        configure(server, work, tenants=2)
        machine.run(*INSTALL, "exporter.yaml", folder=work)
        machine.run("systemctl", "reload", SERVICE)
        wait_until(lambda: len(tenants(scrape(address))) == 2, machine)

        machine.run("kill", "-STOP", *machine.show(service, "MainPID"))
        wait_until(lambda: machine.show(service, "NRestarts", "ActiveState") == ["1", "active"], machine)
        assert len(tenants(scrape(address))) == 2
        machine.run("systemctl", "stop", SERVICE)
        assert machine.show(service, "Result", "ExecMainStatus", "ActiveState") == ["success", "0", "inactive"]

        (drop_in_of_the_page,) = [block.text for block in blocks(PAGE) if block.language == "ini"]
        (work / "certificate.conf").write_text(drop_in_of_the_page, "utf-8")
        machine.run("install", "--mode=0644", f"--target-directory={drop_in}", "certificate.conf", folder=work)
        machine.run("systemctl", "daemon-reload")
        assert machine.run("systemd-analyze", "verify", *units) == ""
        assert machine.show(service, "UnsetEnvironment") == ["OFFICE365_EXPORTER_AUTH__CLIENT_SECRET_FILE"]
        machine.run("rm", f"{drop_in}/certificate.conf")
        machine.run("systemctl", "daemon-reload")

        machine.run("sh", "-c", f"echo nonsense: 1 >>/etc/{SERVICE}/exporter.yaml")
        machine.run("sh", "-c", f"! systemctl start {SERVICE}")
        assert machine.show(service, "ExecMainStatus", "SubState", "NRestarts") == ["2", "failed", "0"]
        assert "nonsense" in machine.log


def test_the_page_installs_a_timer_that_works(machine: Machine, work: Path) -> None:
    """As docs/systemd.md says: the file has the numbers, everybody may read it, and the timer knows its next time."""
    with SimulatorServer(Simulator(tenants=2, shared_app=True)) as server:
        configure(server, work, tenants=2)
        machine.run(*INSTALL, "environment", "ca.pem", folder=work)
        machine.run("sh", "-ec", commands()[0].replace("systemctl enable --now", "true"), folder=work)
        machine.run("sh", "-ec", commands()[1], folder=work)
        assert len(tenants(machine.run("cat", TEXTFILE))) == 2
        assert machine.run("stat", "--format=%a", TEXTFILE) == "644\n"
        assert machine.show(f"{ONCE}.service", "Result") == ["success"]
        (timer,) = json.loads(machine.run("systemctl", "list-timers", "--output=json"))
        assert (timer["unit"], timer["activates"]) == (f"{ONCE}.timer", f"{ONCE}.service")
        assert timer["next"] / 1e6 - time.time() < 3600 + 300
