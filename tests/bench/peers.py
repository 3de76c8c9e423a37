"""prometheus-client as a process of its own: `peers.py PORT [FILE]`; with FILE, a gauge for each of its samples.

Run by path, in an environment that knows nothing but the run-time packages; prints the port once it answers.
"""

from __future__ import annotations

import sys
import threading

from prometheus_client import Gauge, start_http_server


def main(port: int, file: str | None) -> None:
    """Serve until killed."""
    if file is not None:
        _fill(file)
    server, _ = start_http_server(port, addr="127.0.0.1")
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Event().wait()


def _fill(file: str) -> None:
    """Make the gauges of a file with a sample a line: name, value, then labels and their values, all parted by tabs."""
    gauges: dict[str, Gauge] = {}
    with open(file, encoding="utf-8") as lines:  # noqa: PTH123 - pathlib would be memory that is not the peer's
        for line in lines:
            name, value, *labels = line.rstrip("\n").split("\t")
            if name not in gauges:
                gauges[name] = Gauge(name, name, labels[::2])
            (gauges[name].labels(*labels[1::2]) if labels else gauges[name]).set(float(value))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
