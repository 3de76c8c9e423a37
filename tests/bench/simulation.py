"""A simulated Microsoft as a process of its own: `python -m tests.bench.simulation TENANTS LATENCY FOLDER`.

Every report has six product types. The tenants share one app, as a provider's customers do, which knows the tenants'
secret and the certificate in FOLDER/app.pem, if there is one. Prints its addresses as JSON once it answers.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from exporter.simulator import reports
from tests.full_simulator import Simulator, SimulatorServer


def main(tenants: int, latency: float, folder: Path) -> None:
    """Serve until SIGTERM."""
    reports._LEAST_PRODUCTS = reports._MOST_PRODUCTS
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    simulator = Simulator(0, tenants, shared_app=True)
    certificate = folder / "app.pem"
    if certificate.exists():
        simulator.register_certificate(simulator.tenants[0], certificate.read_bytes())
    with SimulatorServer(simulator, latency=latency) as server:
        (folder / "ca.pem").write_bytes(server.ca_file.read_bytes())
        addresses = {
            "authority": server.cloud.login,
            "graph": server.cloud.graph,
            "download_host": server.download_host,
        }
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
