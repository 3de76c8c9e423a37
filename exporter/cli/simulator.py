"""`simulator`: the simulation in the foreground."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.cli.simulation import simulation, write_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.arguments import Arguments


def run(arguments: Arguments, _environ: Mapping[str, str]) -> int:
    """Serve the simulation until SIGTERM or SIGINT; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="office365-simulator-") as temporary:
        folder = Path(arguments.options["folder"] or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with simulation(arguments.options) as server:
            path = write_configuration(server, folder)
            sys.stdout.write(
                f"# Microsoft is simulated: login {server.cloud.login}, Graph {server.cloud.graph}, "
                f"download {server.cloud.download}, managed identity {server.cloud.identity}\n"
                f"# {len(server.simulator.tenants)} tenants, scenario {arguments.options['scenario']}; Ctrl-C ends it\n"
                f"export OFFICE365_EXPORTER_CONFIG__FILE={path}\n"
            )
            sys.stdout.flush()
            # Blocked before the wait, so that a signal that comes early is not lost.
            signal.sigwait(_blocked())
    return 0


def _blocked() -> set[signal.Signals]:
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    return signals
