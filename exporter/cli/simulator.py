"""`simulator`: runs the simulation in the foreground, and makes it for `demo`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from exporter.config.errors import config_error
from exporter.errors import ConfigError
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.server import SimulatorServer
from exporter.simulator.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli import Arguments

_FILE, _CA = "exporter.yaml", "ca.pem"
_EXPIRES_IN = 20
"""Days until the demonstration's first secret expires: soon enough for its warning."""

_PRICES = {
    "MICROSOFT 365 APPS FOR ENTERPRISE": 12.9,
    "MICROSOFT 365 APPS FOR BUSINESS": 9.8,
    "VISIO PLAN 2": 14.0,
    "PROJECT PLAN 3": 28.0,
    "PROJECT PLAN 5": 51.5,
}
"""Invented, in euros a month: none for the other products, as in many a contract."""


def run(arguments: Arguments, _environ: Mapping[str, str]) -> int:
    """Serve the simulation until SIGTERM or SIGINT; return the exit code."""
    options = arguments.options
    if options["scenario"] == "list":
        sys.stdout.write(list_scenarios())
        return 0
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):  # before anything is printed: a signal may come early
        signal.signal(signum, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="office365-simulator-") as temporary:
        folder = _folder(options["folder"] or temporary)
        with simulation(options) as server:
            path = write_configuration(server, folder)
            sys.stdout.write(_how_to_use(server, path, options["scenario"]))
            sys.stdout.flush()
            while not stop.wait(1.0):  # on Windows, a wait without an end hears no Ctrl-C
                pass
    return 0


def _folder(path: str) -> Path:
    """Return the folder, made if it is not there; what the configuration names in it does not depend on who reads it.

    Raises:
        ConfigError: it cannot be made, or holds the configuration of somebody else.
    """
    folder = Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise config_error("--folder", f"cannot make {folder}: {error.strerror}", "choose another folder") from None
    if (folder / _FILE).exists() and not (folder / _CA).exists():
        fix = "choose another folder, so that yours is kept"
        raise config_error("--folder", f"{folder / _FILE} was not written by a simulator", fix)
    return folder


def list_scenarios() -> str:
    return "".join(f"{name:<15} {scenario.summary}\n" for name, scenario in SCENARIOS.items())


def simulation(options: Mapping[str, Any]) -> SimulatorServer:
    """Return the server of the simulation that the options ask for, not yet started.

    Raises:
        ConfigError: there is no such scenario; the message lists them.
    """
    name = options["scenario"]
    if name not in SCENARIOS:
        raise ConfigError((f"--scenario: {name!r} is not known; choose one:\n{list_scenarios()}".rstrip(),))
    # An expired secret is one that many tenants share: the case of a provider.
    shared = SCENARIOS[name].secret_expired
    return SimulatorServer(Simulator(tenants=options["tenants"], scenario=name, shared_app=shared))


def write_configuration(server: SimulatorServer, folder: Path, *, demo: bool = False) -> Path:
    """Write the configuration of an exporter for a started simulation, and its CA, into `folder`; return its path.

    That of `demo` shows all there is: storage in the folder, prices, and for the first tenant both reports and a secret
    with its date of expiry.
    """
    ca_file = folder / _CA
    ca_file.write_bytes(server.ca_file.read_bytes())
    tenants: list[dict[str, Any]] = [
        {
            "name": tenant.name,
            "tenant_id": tenant.tenant_id,
            "client_id": tenant.client_id,
            "auth": {"client_secret": tenant.secret},
        }
        for tenant in server.simulator.tenants
    ]
    document: dict[str, Any] = {
        "cloud": {"authority": server.cloud.login, "graph": server.cloud.graph},
        "http": {"ca_file": str(ca_file), "download_hosts": [server.download_host]},
    }
    if demo:
        document["storage"] = {"path": str(folder / "storage")}
        document["prices"] = {"currency": "EUR", "product_types": _PRICES}
        tenants[0]["reports"] = ["activations_user_counts", "activations_platform_counts"]
        expired = server.simulator.scenario(server.simulator.tenants[0]).secret_expired
        expiry = datetime.fromtimestamp(time.time(), UTC) + timedelta(days=-1 if expired else _EXPIRES_IN)
        for tenant in tenants if expired else tenants[:1]:
            tenant["auth"]["expires"] = expiry.date()
    document["tenants"] = tenants
    path = folder / _FILE
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        yaml.dump(document, file, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return path


def _how_to_use(server: SimulatorServer, path: Path, scenario: str) -> str:
    cloud, tenants = server.cloud, server.simulator.tenants
    variables = {
        "AZURE_TENANT_ID": tenants[0].tenant_id,
        "AZURE_CLIENT_ID": tenants[0].client_id,
        "AZURE_CLIENT_SECRET": tenants[0].secret,
        "OFFICE365_EXPORTER_TENANT_NAME": tenants[0].name,
        "OFFICE365_EXPORTER_CLOUD": json.dumps({"authority": cloud.login, "graph": cloud.graph}),
        "OFFICE365_EXPORTER_HTTP__CA_FILE": str(path.parent / _CA),
        "OFFICE365_EXPORTER_HTTP__DOWNLOAD_HOSTS": json.dumps([server.download_host]),
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return f"""\
# Microsoft is simulated: login {cloud.login}, Graph {cloud.graph}, download {cloud.download}
# {len(tenants)} tenants, scenario {scenario}; press Ctrl-C to stop

# All tenants, with a configuration file:
export OFFICE365_EXPORTER_CONFIG__FILE={shlex.quote(str(path))}

# Or only the first one, {tenants[0].name}, with variables:
{exports}"""
