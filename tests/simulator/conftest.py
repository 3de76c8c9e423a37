"""What the tests of the simulation share."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.full_simulator import Simulator, SimulatorServer
from tests.simulator.certificates import Pair, make_pair
from tests.simulator.plain import Clock, Plain, in_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def simulator() -> Simulator:
    """Return a simulation of three healthy tenants."""
    return Simulator(seed=1)


@pytest.fixture
def clock() -> Clock:
    """Return a virtual clock."""
    return Clock()


@pytest.fixture
def plain(simulator: Simulator, clock: Clock) -> Iterator[Plain]:
    """Return a plain client, in process, for the first tenant."""
    made = in_process(simulator, clock)
    with made.client:
        yield made


@pytest.fixture
def server(simulator: Simulator) -> Iterator[SimulatorServer]:
    """Return the simulation as a server, started."""
    with SimulatorServer(simulator) as started:
        yield started


@pytest.fixture
def trust(server: SimulatorServer) -> ssl.SSLContext:
    """Return a TLS context that trusts only the server."""
    return ssl.create_default_context(cafile=str(server.ca_file))


@pytest.fixture
def over_tls(server: SimulatorServer, trust: ssl.SSLContext) -> Iterator[Plain]:
    """Return a plain client of the server, for the first tenant."""
    with httpx.Client(verify=trust, trust_env=False, timeout=60.0) as client:
        yield Plain(client, server.cloud, server.simulator.tenants[0])


@pytest.fixture(scope="session")
def pair() -> Pair:
    """Return a certificate and its key."""
    return make_pair()
