"""`simulator`: runs the simulation in the foreground."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.cli.simulation import list_scenarios, simulation, write_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.arguments import Arguments
    from exporter.simulator import SimulatorServer


def run(arguments: Arguments, _environ: Mapping[str, str]) -> int:
    """Serve the simulation until SIGTERM or SIGINT; return the exit code."""
    options = arguments.options
    if options["scenario"] == "list":
        sys.stdout.write(list_scenarios())
        return 0
    # Before anything is printed, so that a signal that comes early waits for `sigwait`.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with tempfile.TemporaryDirectory(prefix="office365-simulator-") as temporary:
        folder = Path(options["folder"] or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with simulation(options) as server:
            path = write_configuration(server, folder)
            sys.stdout.write(_how_to_use(server, path.resolve(), options["scenario"]))
            sys.stdout.flush()
            signal.sigwait(signals)
    return 0


def _how_to_use(server: SimulatorServer, path: Path, scenario: str) -> str:
    cloud, tenants = server.cloud, server.simulator.tenants
    variables = {
        "AZURE_TENANT_ID": tenants[0].tenant_id,
        "AZURE_CLIENT_ID": tenants[0].client_id,
        "AZURE_CLIENT_SECRET": tenants[0].secret,
        "OFFICE365_EXPORTER_TENANT_NAME": tenants[0].name,
        "OFFICE365_EXPORTER_CLOUD": json.dumps({"authority": cloud.login, "graph": cloud.graph}),
        "OFFICE365_EXPORTER_HTTP__CA_FILE": str(path.parent / "ca.pem"),
        "OFFICE365_EXPORTER_HTTP__DOWNLOAD_HOSTS": json.dumps([server.download_host]),
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return f"""\
# Microsoft is simulated: login {cloud.login}, Graph {cloud.graph},
# download {cloud.download}, managed identity {cloud.identity}
# {len(tenants)} tenants, scenario {scenario}; Ctrl-C ends it

# Every tenant, by a configuration file:
export OFFICE365_EXPORTER_CONFIG__FILE={shlex.quote(str(path))}

# Or only the first one, {tenants[0].name}, by variables:
{exports}"""
