"""The simulation over real sockets and TLS."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from tests.full_simulator import CLOUDS, Simulator, SimulatorServer, Stage
from tests.http.connect_proxy import ConnectProxy
from tests.simulator.plain import Clock, Plain


def exchange(address: str, trust: ssl.SSLContext, sent: bytes) -> bytes:
    """Return everything that a server says to `sent` until it ends the connection."""
    parts = urlsplit(address)
    with (
        socket.create_connection(("127.0.0.1", parts.port or 443), timeout=30) as raw,
        trust.wrap_socket(raw, server_hostname="localhost") as sock,
    ):
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_the_report_comes_over_tls(over_tls: Plain, server: SimulatorServer) -> None:
    """Three origins on three ports, trusted by the authority's file alone."""
    ports = {urlsplit(address).port for address in (server.cloud.login, server.cloud.graph, server.cloud.download)}
    assert len(ports) == 3
    location = over_tls.graph().headers["Location"]
    assert urlsplit(location).netloc == server.download_host
    assert over_tls.client.get(location).content.startswith(b"\xef\xbb\xbfReport Refresh Date,")


def test_nobody_else_is_trusted(server: SimulatorServer) -> None:
    """Without the authority's file the handshake fails."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(server.cloud.login, trust_env=False)


def test_the_address_may_be_spelt_either_way(over_tls: Plain, server: SimulatorServer) -> None:
    """The certificate holds for localhost and 127.0.0.1, and a scope may name Graph by its real name."""
    numeric = server.cloud.login.replace("localhost", "127.0.0.1")
    url = f"{numeric}/{over_tls.tenant.tenant_id}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials",
        "client_id": over_tls.tenant.client_id,
        "client_secret": over_tls.tenant.secret,
        "scope": "https://graph.microsoft.com/.default",
    }
    answer = over_tls.client.post(url, data=form)
    assert over_tls.graph(answer.json()["access_token"]).status_code == 302


@pytest.mark.parametrize("cloud", sorted(CLOUDS))
def test_a_server_may_stand_for_any_cloud(simulator: Simulator, cloud: str) -> None:
    """A national cloud's server has the report in beta only."""
    with SimulatorServer(simulator, cloud=cloud) as server:
        trust = ssl.create_default_context(cafile=str(server.ca_file))
        with httpx.Client(verify=trust, trust_env=False) as client:
            plain = Plain(client, server.cloud, simulator.tenants[0])
            assert plain.graph(version="beta").status_code == 302
            assert plain.graph().status_code == (302 if cloud == "global" else 400)


@pytest.mark.parametrize("cloud", sorted(CLOUDS))
def test_the_real_names_are_answered_for_what_they_are(simulator: Simulator, cloud: str) -> None:
    """A client that a proxy leads here may use the real addresses of all four clouds."""
    real = CLOUDS[cloud]
    with (
        SimulatorServer(simulator, real_names=True) as server,
        ConnectProxy(server.route) as proxy,
    ):
        trust = ssl.create_default_context(cafile=str(server.ca_file))
        with httpx.Client(verify=trust, proxy=proxy.url) as client:
            plain = Plain(client, real, simulator.tenants[0])
            location = plain.graph(version="beta").headers["Location"]
            assert location.startswith(real.download)
            assert client.get(location).status_code == 200
        assert proxy.asked[:2] == [f"{urlsplit(address).netloc}:443" for address in (real.login, real.graph)]


def test_faults_below_http_reach_the_client(over_tls: Plain, server: SimulatorServer) -> None:
    """A cut connection, before and inside the answer, is one for the client."""
    simulator = server.simulator
    simulator.inject("contoso", "cut")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        over_tls.graph()
    simulator.inject("contoso", "cut-body")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        over_tls.csv()
    assert over_tls.csv().status_code == 200


def test_silence_is_silence(over_tls: Plain, server: SimulatorServer) -> None:
    """A hanging answer lets the client's own timeout strike."""
    server.simulator.inject("contoso", "hang")
    token = over_tls.token()
    over_tls.client.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        over_tls.graph(token)


@pytest.mark.parametrize(("fault", "stage"), [("drip", Stage.REPORT), ("drip-headers", Stage.GRAPH)])
def test_a_drip_comes_byte_by_byte(over_tls: Plain, server: SimulatorServer, fault: str, stage: Stage) -> None:
    """A dripping answer outlives every timeout of a single read and never ends in a test's time."""
    token = over_tls.token()
    server.simulator.inject("contoso", fault, stage=stage)
    over_tls.client.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        over_tls.client.get(over_tls.graph(token).headers["Location"])


def test_an_endless_body_goes_on(over_tls: Plain, server: SimulatorServer) -> None:
    """A client that does not stop reading reads for ever; one that goes away is forgotten."""
    server.simulator.inject("contoso", "endless")
    seen = 0
    with over_tls.client.stream("GET", over_tls.graph().headers["Location"]) as answer:
        for chunk in answer.iter_raw():
            seen += len(chunk)
            if seen > 20_000_000:
                break
    assert over_tls.csv().status_code == 200


def test_a_flood_of_headers_is_too_much_for_the_client(over_tls: Plain, server: SimulatorServer) -> None:
    """Half a megabyte of headers reaches the client, whose own limit strikes."""
    server.simulator.inject("contoso", "header-flood")
    with pytest.raises(httpx.RemoteProtocolError):
        over_tls.graph()


def test_latency_is_waited_for(over_tls: Plain, server: SimulatorServer) -> None:
    """An answer takes at least as long as the server's latency, which may be changed while it runs."""
    token = over_tls.token()
    server.latency = 0.2
    start = time.monotonic()
    assert over_tls.graph(token).status_code == 302
    assert time.monotonic() - start >= 0.2


def test_one_that_hangs_keeps_nobody_waiting(over_tls: Plain, server: SimulatorServer) -> None:
    """While one tenant's call hangs, another's is answered."""
    token = over_tls.token()
    other = Plain(over_tls.client, server.cloud, server.simulator.tenants[1])
    server.simulator.inject("contoso", "hang")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(over_tls.graph, token)
        while not server.simulator.count("contoso", Stage.GRAPH):
            time.sleep(0.01)
        assert other.csv().status_code == 200
        assert not hanging.done()
        for port in server.ports:
            port.end_connections()
        assert isinstance(hanging.exception(), httpx.TransportError)


def test_requests_may_follow_each_other_at_once(server: SimulatorServer, trust: ssl.SSLContext) -> None:
    """Pipelined requests are answered in order, also behind one that takes its time."""
    simulator, tenant = server.simulator, server.simulator.tenants[0]
    simulator.inject(tenant, "slow", stage=Stage.DISCOVERY)
    one = f"GET /{tenant.domain}/v2.0/.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = exchange(server.cloud.login, trust, (one + one + last).encode())
    codes = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"200", b"200", b"404"]


def test_what_is_no_http_is_refused(server: SimulatorServer, trust: ssl.SSLContext) -> None:
    """Nonsense is 400, and the connection ends."""
    assert exchange(server.cloud.graph, trust, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_no_name_server_is_asked(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server starts at once where no name can be resolved."""
    monkeypatch.setattr(socket, "getfqdn", lambda _name: pytest.fail("it asked for this machine's name"))
    with SimulatorServer(simulator) as server:
        assert len(server.ports) == 4


def test_a_server_leaves_nothing_behind(simulator: Simulator) -> None:
    """After `stop()` the ports are closed, open connections ended and the certificates gone."""
    server = SimulatorServer(simulator).start()
    with socket.create_connection(("127.0.0.1", urlsplit(server.identity).port or 0), timeout=30) as idle:
        server.stop()
        assert _ended(idle)
    assert not server.ca_file.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(server.cloud.graph).port or 0), timeout=30)


def _ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_server_goes_by_the_clock_it_is_given(simulator: Simulator, clock: Clock) -> None:
    """Reports and tokens are as old as the server's clock says."""
    with SimulatorServer(simulator, clock=clock) as server:
        trust = ssl.create_default_context(cafile=str(server.ca_file))
        with httpx.Client(verify=trust, trust_env=False) as client:
            plain = Plain(client, server.cloud, simulator.tenants[0])
            assert b"\r\n2025-12-30," in plain.csv().content
            token = plain.token()
            clock.sleep(3600)
            assert plain.graph(token).status_code == 401
