"""Proxies: through them, past them, and what is said when they refuse."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import trustme

from exporter.errors import ConfigError, NetworkError
from exporter.http import Clients, Deadline, Proxy, tls_context
from exporter.microsoft import proxy_from
from tests.full_simulator import Simulator, SimulatorServer
from tests.http.connect_proxy import ConnectProxy
from tests.http.leaks import assert_clean, said
from tests.http.servers import certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "exporter:hush%20proxy"
OPENED = "exporter:hush proxy"


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    """Serve a simulation."""
    with SimulatorServer(Simulator(tenants=1)) as started:
        yield started


def ask(server: SimulatorServer, proxy: Proxy, *, seconds: float = 10, direct: bool = False) -> int:
    """Ask the simulation's Graph without a token; return the status."""
    clients = Clients(tls=tls_context(server.ca_file), proxy=proxy)
    try:
        url = f"{server.cloud.graph}/v1.0/reports/x"
        return clients.request("GET", url, endpoint="graph", deadline=Deadline(seconds), direct=direct).status_code
    finally:
        clients.close()


def refused(server: SimulatorServer, proxy: Proxy, *, seconds: float = 10) -> NetworkError:
    """Return the error of a request that does not get through; nothing secret is in it."""
    with pytest.raises(NetworkError) as caught:
        ask(server, proxy, seconds=seconds)
    said(caught.value)
    return caught.value


def test_requests_go_through_the_proxy(server: SimulatorServer) -> None:
    """With a proxy, the host is reached by a tunnel; TLS is with the host itself."""
    with ConnectProxy() as proxy:
        assert ask(server, Proxy(proxy.url)) == 401
        assert proxy.asked == [server.cloud.graph.removeprefix("https://")]


def test_a_proxy_gets_its_password(server: SimulatorServer) -> None:
    """User and password in the proxy's address, percent-encoded as in any address, open it."""
    with ConnectProxy(password=OPENED) as proxy:
        assert ask(server, Proxy(proxy.url.replace(OPENED, PASSWORD))) == 401


@pytest.mark.parametrize("given", ["", "exporter:hush%20wrong@"], ids=["none", "wrong"])
def test_a_proxy_that_wants_another_password_says_so(server: SimulatorServer, given: str) -> None:
    """407 names the proxy and the setting, and never the password."""
    with ConnectProxy(password=OPENED) as proxy:
        error = refused(server, Proxy(f"http://{given}localhost:{proxy.port}"))
        assert f"through the proxy localhost:{proxy.port}: the proxy refused: 407 Proxy" in error.message
    assert error.hint == "check user and password in http.proxy (or HTTPS_PROXY)"


def test_a_proxy_that_refuses_the_host_says_so(server: SimulatorServer) -> None:
    """Any other refusal of the proxy's is told apart from the host's."""
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        error = refused(server, Proxy(proxy.url))
    assert error.message.endswith("the proxy refused: 403 Forbidden")
    assert error.hint == "check http.proxy (or HTTPS_PROXY): host, port, and whether it allows this host"


def test_a_proxy_that_is_not_there_is_named(server: SimulatorServer) -> None:
    """Where nobody listens, the proxy is what to look at, not the host."""
    error = refused(server, Proxy("http://exporter:hush@localhost:1"))
    assert "through the proxy localhost:1: cannot connect" in error.message
    assert error.hint.startswith("check http.proxy")


def test_a_proxy_that_hangs_is_held_to_the_deadline(server: SimulatorServer) -> None:
    """A proxy that takes the connection and says nothing costs a poll its timeout, and no more."""
    with ConnectProxy(silent=True) as proxy:
        error = refused(server, Proxy(proxy.url), seconds=0.2)
    assert "no complete answer within 0.2 s" in error.message


def test_a_proxy_may_speak_tls(server: SimulatorServer, tmp_path: Path) -> None:
    """A proxy under https:// is held to the same trust as any host, http.ca_file included."""
    authority = trustme.CA()
    both = tmp_path / "ca.pem"
    both.write_bytes(server.ca_file.read_bytes() + authority.cert_pem.bytes())
    with ConnectProxy(password=OPENED, tls=certificate(authority, "localhost")) as proxy:
        address = Proxy(proxy.url.replace(OPENED, PASSWORD))
        assert "not trusted" in refused(server, address).message
        clients = Clients(tls=tls_context(both), proxy=address)
        answer = clients.request("GET", f"{server.cloud.graph}/v1.0/x", endpoint="graph", deadline=Deadline(10))
        clients.close()
        assert answer.status_code == 401


def test_a_deadline_holds_within_the_tls_of_a_proxy(server: SimulatorServer, tmp_path: Path) -> None:
    """TLS with the host, inside the TLS of the proxy, is held to the deadline at each byte, not at each handshake."""
    authority = trustme.CA()
    both = tmp_path / "ca.pem"
    both.write_bytes(server.ca_file.read_bytes() + authority.cert_pem.bytes())
    looks = itertools.count()
    # Time goes by only where somebody checks it: the deadline comes at the 100th check, within the first handshake.
    deadline = Deadline(100, lambda: float(next(looks)))
    with ConnectProxy(drip=True, tls=certificate(authority, "localhost")) as proxy:
        clients = Clients(tls=tls_context(both), proxy=Proxy(proxy.url))
        with pytest.raises(NetworkError, match="no complete answer within 100 s"):
            clients.request("GET", f"{server.cloud.graph}/v1.0/x", endpoint="graph", deadline=deadline)
        clients.close()


@pytest.mark.parametrize("no_proxy", ["localhost", "example.com, LOCALHOST", "*", "localhost:{port}"])
def test_no_proxy_goes_past_the_proxy(server: SimulatorServer, no_proxy: str) -> None:
    """A host that NO_PROXY names is reached directly, whatever the proxy's mood."""
    exempt = no_proxy.format(port=server.cloud.graph.rpartition(":")[2])
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        assert ask(server, Proxy(proxy.url, exempt)) == 401
        assert proxy.asked == []


def test_what_must_go_direct_does(server: SimulatorServer) -> None:
    """A managed identity's endpoint is never asked through a proxy."""
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        assert ask(server, Proxy(proxy.url), direct=True) == 401
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("configured", "environ", "url"),
    [
        (None, {}, ""),
        (None, {"HTTP_PROXY": "http://plain:1"}, ""),
        (None, {"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        (None, {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "http://lower:1"),
        (None, {"ALL_PROXY": "http://all:1"}, "http://all:1"),
        (None, {"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        (None, {"HTTPS_PROXY": "proxy.example.com:3128"}, "http://proxy.example.com:3128"),
        (None, {"HTTPS_PROXY": ""}, ""),
        ("http://file:1", {"HTTPS_PROXY": "http://a:1"}, "http://file:1"),
    ],
)
def test_where_the_proxy_comes_from(configured: str | None, environ: dict[str, str], url: str) -> None:
    """The configuration goes before HTTPS_PROXY, that before ALL_PROXY; curl's short form is understood."""
    assert proxy_from(configured, environ).url == url


def test_no_proxy_counts_for_a_configured_proxy() -> None:
    """NO_PROXY is honoured wherever the proxy comes from: suffixes, with or without a dot."""
    proxy = proxy_from("http://file:1", {"NO_PROXY": ".office.com,graph.microsoft.com"})
    covered = ["reports.office.com", "graph.microsoft.com", "login.microsoftonline.com", "notoffice.com"]
    assert [proxy.covers(host) for host in covered] == [False, False, True, True]


@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:hush@proxy:1",
        "http://user:hush@",
        "http://u:hush@[",
        "http://p:0",
        "http://hush:20#24@proxy:1",
        "http://hush:20?24@proxy:1",
        "http://hush:20/24@proxy:1",
    ],
)
def test_a_variable_that_is_not_a_proxy_is_an_error_of_the_configuration(value: str) -> None:
    """HTTPS_PROXY is checked before any poll, and its password is not shown."""
    with pytest.raises(ConfigError) as caught:
        proxy_from(None, {"HTTPS_PROXY": value})
    assert "HTTPS_PROXY: is not the address of a proxy; write it as http://" in said(caught.value)


def test_a_proxy_hides_its_password() -> None:
    """Neither repr nor the name for messages holds user or password."""
    proxy = Proxy("http://exporter:hush@proxy.example.com:3128")
    assert proxy.host == "proxy.example.com:3128"
    assert_clean(repr(proxy))
