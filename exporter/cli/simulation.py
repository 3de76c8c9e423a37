"""What `demo` and `simulator` share: a simulation, and the configuration that points an exporter at it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import yaml

from exporter.errors import ConfigError
from exporter.simulator import SCENARIOS, Simulator, SimulatorServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any


def simulation(options: Mapping[str, Any]) -> SimulatorServer:
    """Return the server of the simulation that the options ask for, not yet started.

    Raises:
        ConfigError: there is no such scenario; the message lists them.
    """
    if options["scenario"] not in SCENARIOS:
        listed = "".join(f"\n  {name:<15} {scenario.summary}" for name, scenario in SCENARIOS.items())
        raise ConfigError((f"--scenario: {options['scenario']!r} is none of these; choose one:{listed}",))
    simulator = Simulator(options["seed"], options["tenants"], options["scenario"])
    return SimulatorServer(simulator, latency=options.get("latency", 0.0))


def write_configuration(server: SimulatorServer, folder: Path, *, storage: bool = False) -> Path:
    """Write the configuration of an exporter for a started simulation, and its CA, into `folder`; return its path.

    Args:
        server: the simulation.
        folder: where to.
        storage: whether the exporter is to keep its reports in the folder too.
    """
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(server.ca_file.read_bytes())
    document = {
        "cloud": {"authority": server.cloud.login, "graph": server.cloud.graph},
        "http": {"ca_file": str(ca_file), "download_hosts": [server.download_host]},
        **({"storage": {"path": str(folder / "storage")}} if storage else {}),
        "tenants": [
            {
                "name": tenant.name,
                "tenant_id": tenant.tenant_id,
                "client_id": tenant.client_id,
                "auth": {"client_secret": tenant.secret},
            }
            for tenant in server.simulator.tenants
        ],
    }
    path = folder / "exporter.yaml"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        yaml.dump(document, file, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return path
