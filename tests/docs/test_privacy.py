"""What docs/privacy.md says about where the exporter connects to."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.full_simulator import Simulator, SimulatorServer
from tests.process import configure, environment

if TYPE_CHECKING:
    from pathlib import Path

AUDITED = """
import sys

def note(event, arguments):
    if event == "socket.connect":
        sys.stderr.write(f"connects {arguments[1]}\\n")
    elif event == "socket.getaddrinfo":
        sys.stderr.write(f"resolves {arguments[0]}\\n")

sys.addaudithook(note)
from exporter.__main__ import main
main()
"""


def test_only_microsofts_hosts_are_contacted(tmp_path: Path) -> None:
    """A poll of every tenant connects to login, Graph and download host, and resolves no other name."""
    with SimulatorServer(Simulator(1, 3)) as server:
        path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}})
        ended = subprocess.run(
            [sys.executable, "-c", AUDITED, "once", "--config.file", str(path), "--output", str(tmp_path / "out")],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        allowed = {
            urlsplit(server.cloud.login).port,
            urlsplit(server.cloud.graph).port,
            int(server.download_host.rpartition(":")[2]),
        }
    assert ended.returncode == 0, ended.stderr
    connected = re.findall(r"^connects \('([^']+)', (\d+)", ended.stderr, re.MULTILINE)
    assert {int(port) for _, port in connected} == allowed
    assert {host for host, _ in connected} <= {"127.0.0.1", "::1"}
    assert set(re.findall(r"^resolves (?:b?')?([^'\n]+)'?$", ended.stderr, re.MULTILINE)) <= {"localhost", "127.0.0.1"}
    assert not re.search(r"^connects (?!\()", ended.stderr, re.MULTILINE)
