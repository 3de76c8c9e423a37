"""Runs the services of deploy/compose/compose.yaml, but for Grafana, without a container engine.

Their commands and mounts are those of the file, in a root and a network of their own, where the services' names lead to
its loopback. Programs are the real ones: this exporter, Prometheus and Alertmanager.

    `NAMESPACES` python -m tests.delivery.stack FOLDER

prints what the services' interfaces tell as JSON, once the rules of the exporter's metrics were evaluated.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from tests.delivery.pod import _configure_loopback as configure_loopback
from tests.delivery.pod import _mount as mount
from tests.tools import TOOLS, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "deploy" / "compose"
PROGRAMS = {
    "exporter": (sys.executable, "-m", "exporter"),
    "prometheus": ("prometheus3",),
    "alertmanager": ("alertmanager3",),
}
SECONDS = 150.0
_PROMPT = 60.0


def main() -> int:
    """Run the stack in the folder that the command line names."""
    folder = Path(sys.argv[1])
    with running(folder) as processes:
        end = time.monotonic() + SECONDS
        while (seen := look()) is None:
            if time.monotonic() > end or any(process.poll() is not None for process in processes.values()):
                sys.stderr.write((folder / "log").read_text("utf-8"))
                return 1
            time.sleep(0.5)
    json.dump(seen, sys.stdout)
    return 0


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
    """Run the services' processes, by name, with their output in the folder's `log`."""
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8"))["services"]
    configure_loopback()
    lay_out(folder, services)
    processes = {}
    with (folder / "log").open("wb") as log, contextlib.ExitStack() as stack:
        for name, (program, *words) in PROGRAMS.items():
            inside = ["chroot", str(folder), "env", f"--chdir={ROOT}", str(require(program)), *words]
            command = [*inside, *services[name]["command"]]
            processes[name] = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
            stack.callback(processes[name].kill)
        yield processes


def lay_out(root: Path, services: Mapping[str, Any]) -> None:
    """Put together a root with the machine's programs, the services' names, and each mount where the file has it."""
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(root))
    machine = map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/dev", "/proc"))
    ours = (ROOT, TOOLS.resolve().parent, Path(sys.prefix), Path(sys.base_prefix))
    for path in dict.fromkeys((*machine, *ours)):
        inside = root / path.relative_to("/")
        if path.is_symlink():
            inside.symlink_to(path.readlink())
        elif path.is_dir() and not inside.exists():
            inside.mkdir(parents=True)
            mount("--rbind", str(path), str(inside))
    # Debian's Alertmanager looks for its templates at a fixed path.
    templates = Path("usr/share/prometheus/alertmanager")
    mount("-t", "tmpfs", "tmpfs", str(root / "usr/share"))
    (root / templates.parent).mkdir()
    (root / templates).symlink_to(TOOLS.resolve().parent / "sid" / templates)
    for folder in ("etc", "tmp"):
        (root / folder).mkdir(exist_ok=True)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {' '.join(services)}\n", "utf-8")
    (root / "etc/ld.so.cache").write_bytes(Path("/etc/ld.so.cache").read_bytes())
    for service in services.values():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            inside = root / target.removeprefix("/")
            if source.startswith("."):
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.write_bytes((COMPOSE / source).read_bytes())
            else:
                inside.mkdir(parents=True)


def look() -> dict[str, Any] | None:
    """Return what Prometheus and Alertmanager tell; None until the rules were evaluated on what was scraped."""
    client = httpx.Client(trust_env=False, timeout=30)
    prometheus, alertmanager = "http://127.0.0.1:9090/api/v1", "http://127.0.0.1:9093/api/v2"
    query = "count by (job) (count by (job, tenant) (office365_activations_assigned_users))"
    try:
        found = client.get(f"{prometheus}/query", params={"query": query}).json()["data"]["result"]
        groups = client.get(f"{prometheus}/rules").json()["data"]["groups"]
        # Prometheus evaluates a group for the first time somewhere within its interval: nobody waits for minutes.
        prompt = [rule for group in groups if group["interval"] <= _PROMPT for rule in group["rules"]]
        if not found or any(rule["health"] == "unknown" for rule in prompt):
            return None
        return {
            "tenants": {one["metric"]["job"]: int(one["value"][1]) for one in found},
            "rules": {group["name"]: [rule["health"] for rule in group["rules"]] for group in groups},
            "alertmanagers": client.get(f"{prometheus}/alertmanagers").json()["data"]["activeAlertmanagers"],
            "alertmanager": yaml.safe_load(client.get(f"{alertmanager}/status").json()["config"]["original"]),
        }
    except httpx.TransportError:  # one does not listen yet
        return None


if __name__ == "__main__":
    sys.exit(main())
