"""What the tests of credentials share: a simulated Microsoft under its real names, behind a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.auth.harness import Harness
from tests.full_simulator import Simulator, SimulatorServer
from tests.http.connect_proxy import ConnectProxy
from tests.http.leaks import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.config import Tenant


@pytest.fixture(autouse=True)
def _no_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield from watch(caplog, capfd)


@pytest.fixture(autouse=True)
def _no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this machine's own environment says of managed identities and regions."""
    names = "IDENTITY_ENDPOINT IDENTITY_HEADER IDENTITY_SERVER_THUMBPRINT IMDS_ENDPOINT MSI_ENDPOINT MSI_SECRET"
    for name in (*names.split(), "AZUREPS_HOST_ENVIRONMENT", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "MSAL_FORCE_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def microsoft() -> Iterator[tuple[SimulatorServer, ConnectProxy]]:
    """Serve many simulated tenants under Microsoft's real names, which a proxy leads there."""
    with (
        SimulatorServer(Simulator(seed=1, tenants=400), real_names=True) as server,
        ConnectProxy(server.route) as proxy,
    ):
        yield server, proxy


@pytest.fixture
def harness(
    microsoft: tuple[SimulatorServer, ConnectProxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Harness]:
    """Return one simulated tenant that no other test has touched, and what polls it."""
    made = Harness(*microsoft, tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def delegated(harness: Harness) -> Tenant:
    """Return a tenant that a person signs in for."""
    return harness.tenant({"device_code": {}})
