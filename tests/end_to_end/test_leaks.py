"""No secret, token or preauthenticated URL leaves the process, but to whom it belongs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.full_simulator import SCENARIOS, Simulator, SimulatorServer
from tests.process import ALL_POLLED, Running, configure, run

if TYPE_CHECKING:
    from pathlib import Path

# The simulation's tokens are JSON web tokens, its download addresses carry a signature.
FORBIDDEN = re.compile(r"eyJ[\w-]{10,}|[?&]sig=|[?&]token=|Bearer\s+\w{10,}|client_assertion=")


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_nothing_secret_is_in_a_log_a_page_a_metric_or_an_error(tmp_path: Path, scenario: str) -> None:
    """In a debug run of every scenario, neither logs nor pages nor `check` show a secret, a token or a signed URL."""
    with SimulatorServer(Simulator(scenario=scenario)) as server:
        path = configure(server, tmp_path, {"poll": {"timeout": "3s", "interval": "1s", "jitter": "0s"}})
        words = ("serve", "--config.file", str(path), "--log.level=debug", "--web.enable-lifecycle")
        with Running(*words, log=tmp_path / "log") as exporter:
            exporter.wait_until(ALL_POLLED)
            shown = [exporter.get(path).text for path in ("/metrics", "/", "/api/v1/status")]
            exporter.stop()
            shown.append(exporter.log)
        checked = run("check", "--config.file", str(path), "--log.level=debug")
        shown += [checked.stdout, checked.stderr, run("--config.print", "--config.file", str(path)).stdout]
        secrets = [tenant.secret for tenant in server.simulator.tenants]
        assert server.simulator.leaks == []
    for text in shown:
        assert not [secret for secret in secrets if secret in text]
        assert not FORBIDDEN.search(text), FORBIDDEN.search(text)
    assert "level=debug" in shown[3]
